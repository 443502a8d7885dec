"""Choosing tokens: against transformers' processors, and against plain arithmetic."""

from collections.abc import Sequence

import pytest
import torch
from tercet_engine.decoder import sampling
from tercet_engine.decoder.sampling import Choice, Crowd, Defaults, Picked, Picker, pick, resolve_choice
from tercet_wire.messages import Sampling
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCABULARY = 2000


def logits(rows: int = 1, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def choose(logits: torch.Tensor, pickers: Sequence[Picker]) -> list[Picked | None]:
    return pick(logits, Crowd(pickers, logits.device))


def tokens(picked: Sequence[Picked | None]) -> list[int]:
    assert None not in picked
    return [each.token for each in picked if each is not None]


class Scripted(Picker):
    """Draws the numbers that it is given."""

    def __init__(self, choice: Choice, draws: Sequence[float], prompt: Sequence[int] = ()) -> None:
        super().__init__(choice, prompt)
        self._draws = iter(draws)

    def draw(self) -> float:
        return next(self._draws)


def reference_chances(choice: Choice, prompt: Sequence[int], suppressed: Sequence[int]) -> torch.Tensor:
    """The distribution that transformers' generate would draw from."""
    processors = LogitsProcessorList()
    if choice.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(choice.repetition_penalty))
    if suppressed:
        processors.append(SuppressTokensLogitsProcessor(list(suppressed)))
    processors.append(TemperatureLogitsWarper(choice.temperature))
    if choice.top_k:
        processors.append(TopKLogitsWarper(choice.top_k))
    if choice.top_p < 1:
        processors.append(TopPLogitsWarper(choice.top_p))
    scores: torch.Tensor = processors(torch.tensor([list(prompt)]), logits())
    return scores.double().softmax(-1)[0]


@pytest.mark.parametrize(
    ("choice", "suppressed"),
    [
        pytest.param(Choice(), (), id="as the model says"),
        pytest.param(Choice(temperature=0.7), (), id="temperature"),
        pytest.param(Choice(top_k=40), (), id="top-k"),
        pytest.param(Choice(top_p=0.8), (), id="top-p"),
        pytest.param(Choice(temperature=5.0, top_p=0.99), (), id="top-p over more than the short list"),
        pytest.param(Choice(top_k=1500, top_p=0.95, temperature=3.0), (), id="top-k over the short list"),
        pytest.param(Choice(repetition_penalty=1.3), (), id="repetition penalty"),
        pytest.param(Choice(), (3, 5), id="suppressed"),
        pytest.param(
            Choice(temperature=0.9, top_k=40, top_p=0.8, repetition_penalty=1.05), (3, 5), id="as the talker"
        ),
    ],
)
def test_chances_are_those_of_transformers(choice: Choice, suppressed: Sequence[int]) -> None:
    """Evenly spaced draws must hit each token as often as its chance says."""
    best = logits()[0].topk(8).indices.tolist()
    prompt, suppressed = best[:4], [best[each] for each in suppressed]
    expected = reference_chances(choice, prompt, suppressed)
    choice = resolve_choice(
        Sampling(
            temperature=choice.temperature,
            top_k=choice.top_k,
            top_p=choice.top_p,
            repetition_penalty=choice.repetition_penalty,
        ),
        Defaults(),
        vocabulary=VOCABULARY,
        suppressed=suppressed,
    )
    count = 4000
    draws = [(number + 0.5) / count for number in range(count)]
    picked = tokens(choose(logits().repeat(count, 1), [Scripted(choice, [draw], prompt) for draw in draws]))
    hits = torch.bincount(torch.tensor(picked), minlength=VOCABULARY) / count
    assert torch.equal(hits[expected == 0], torch.zeros_like(hits[expected == 0]))
    torch.testing.assert_close(hits.double(), expected, rtol=0, atol=1.5 / count)


def test_temperature_zero_takes_the_best() -> None:
    """Whatever top-k and top-p say."""
    greedy = Picker(Choice(temperature=0.0, top_k=3, top_p=0.1))
    assert tokens(choose(logits(), [greedy])) == logits().argmax(-1).tolist()


@pytest.fixture(params=["compiled", "plain"])
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the best token is found: compiled, or by torch where that cannot be."""
    if request.param == "plain":
        monkeypatch.setattr(sampling, "has_runtime", lambda: False)


@pytest.mark.usefixtures("search", "threads")
@pytest.mark.parametrize("vocabulary", [1, 2, 127, 128, 129, 1000])
def test_the_best_is_found_in_any_vocabulary(vocabulary: int) -> None:
    """The first of equals; below zero too, and where all others are suppressed."""
    logits = torch.randn(5, vocabulary).round(decimals=1)
    logits[1] = -1 - logits[1].abs()
    logits[2, :-1] = float("-inf")
    expected = [row.index(max(row)) for row in logits.tolist()]
    greedy = [Picker(Choice(temperature=0.0)) for _ in expected]
    assert [each.token for each in choose(logits, greedy) if each] == expected


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("place", [0, 130, 299])
@pytest.mark.parametrize("broken", [float("nan"), -float("nan"), float("inf")])
def test_a_broken_score_is_seen_anywhere(broken: float, place: int) -> None:
    logits = -torch.randn(2, 300).abs()
    logits[1, place] = broken
    assert [each is None for each in choose(logits, [Picker(Choice(temperature=0.0)) for _ in range(2)])] == [
        False,
        True,
    ]


@pytest.mark.usefixtures("search")
def test_a_turn_that_may_say_nothing_is_broken() -> None:
    (picked,) = choose(torch.full((1, 300), float("-inf")), [Picker(Choice(temperature=0.0))])
    assert picked is None


def test_a_crowd_that_stays_remembers_what_its_turns_said() -> None:
    """It is asked step after step; a growing penalty drives a turn from token to token."""
    scores = torch.tensor([[3.0, 2.5, 2.2, 0.0], [3.0, 2.5, 2.2, 0.0]])
    choices = [Choice(temperature=0.0, frequency_penalty=1.0), Choice(temperature=0.0)]
    crowd = Crowd([Picker(choice) for choice in choices], scores.device)
    said = [tokens(pick(scores.clone(), crowd)) for _ in range(5)]
    assert [row for row, _ in said] == [0, 1, 2, 0, 1]
    assert {row for _, row in said} == {0}


def test_a_temperature_next_to_zero_is_greedy() -> None:
    """Rather than a division that ends in infinities."""
    assert tokens(choose(logits(), [Picker(Choice(temperature=1e-40))])) == logits().argmax(-1).tolist()


def test_greedy_and_sampled_turns_share_a_step() -> None:
    """Each row is chosen by its own picker."""
    choices = [Choice(temperature=0.0), Choice(top_k=1), Choice(temperature=0.0), Choice(top_p=1e-9)]
    assert tokens(choose(logits(4), [Picker(choice) for choice in choices])) == logits(4).argmax(-1).tolist()


def test_a_seeded_turn_says_the_same_alone_and_in_a_crowd() -> None:
    """Its random numbers are its own."""
    choice = Choice(seed=7, top_k=50, repetition_penalty=1.2)
    alone, crowded = Picker(choice), Picker(choice)
    others = [Picker(Choice(seed=seed)) for seed in range(5)]
    for step in range(20):
        crowd = torch.cat([logits(3, seed=100 + step), logits(1, seed=step), logits(2, seed=200 + step)])
        expected = tokens(choose(logits(1, seed=step), [alone]))[0]
        assert tokens(choose(crowd, [*others[:3], crowded, *others[3:]]))[3] == expected


def test_turns_without_a_seed_differ() -> None:
    """Two callers who set nothing do not get each other's words."""
    first, second = Picker(Choice()), Picker(Choice())
    pairs = [tokens(choose(logits(1, seed).repeat(2, 1), [first, second])) for seed in range(20)]
    assert any(one != other for one, other in pairs)


@pytest.mark.parametrize(
    ("sampling", "said", "expected"),
    [
        pytest.param(Sampling(), [0, 0], 0, id="none"),
        pytest.param(Sampling(presence_penalty=0.6), [0], 1, id="presence counts once said"),
        pytest.param(Sampling(presence_penalty=0.4), [0, 0, 0], 0, id="presence counts only once"),
        pytest.param(Sampling(frequency_penalty=0.2), [0, 0], 0, id="frequency twice is not enough"),
        pytest.param(Sampling(frequency_penalty=0.2), [0, 0, 0], 1, id="frequency three times is"),
        pytest.param(Sampling(repetition_penalty=2.0), [0], 1, id="repetition"),
        pytest.param(Sampling(logit_bias={1: 0.6}), [], 1, id="bias"),
        pytest.param(Sampling(logit_bias={0: -100}), [], 1, id="bias against"),
        pytest.param(Sampling(logit_bias={1: 0.4}, frequency_penalty=0.2), [0], 1, id="bias and frequency"),
    ],
)
def test_penalties_and_bias_move_scores(sampling: Sampling, said: Sequence[int], expected: int) -> None:
    """Token 0 leads token 1 by half a point."""
    scores = torch.tensor([[1.5, 1.0, -2.0]])
    picker = Picker(resolve_choice(sampling, Defaults(temperature=0.0), vocabulary=3))
    for token in said:
        picker.note(token)
    assert tokens(choose(scores, [picker])) == [expected]


def test_prompt_counts_for_the_repetition_penalty_only() -> None:
    """Presence and frequency look at the reply, as in OpenAI's API."""
    scores = torch.tensor([[1.5, 1.0, -2.0]])
    choices = {
        0: Choice(temperature=0.0, presence_penalty=1.0, frequency_penalty=1.0),
        1: Choice(temperature=0.0, repetition_penalty=2.0),
    }
    for expected, choice in choices.items():
        assert tokens(choose(scores.clone(), [Picker(choice, prompt=[0, 0])])) == [expected]


def test_log_probabilities_are_the_models_own() -> None:
    """Temperature, penalties and bias leave them as they are."""
    raw = logits()[0].log_softmax(-1)
    choice = Choice(temperature=0.0, bias={7: 1000.0}, top_logprobs=3, repetition_penalty=1.5)
    (picked,) = choose(logits(), [Picker(choice, prompt=[7])])
    assert picked is not None
    assert picked.token == 7
    assert picked.logprob == pytest.approx(float(raw[7]))
    values, ids = raw.topk(3)
    assert [token for token, _ in picked.top] == ids.tolist()
    assert [value for _, value in picked.top] == pytest.approx(values.tolist())


@pytest.mark.parametrize(("top", "expected"), [(None, None), (0, 0), (5, 5)])
def test_only_the_log_probabilities_asked_for_are_given(top: int | None, expected: int | None) -> None:
    """None: not even the chosen token's."""
    (picked,) = choose(logits(), [Picker(Choice(top_logprobs=top))])
    assert picked is not None
    assert (picked.logprob is None) == (expected is None)
    assert len(picked.top) == (expected or 0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_give_no_token(broken: float, temperature: float) -> None:
    """And the other turns of the step keep theirs."""
    scores = logits(3)
    scores[1, 5] = broken
    picked = choose(scores, [Picker(Choice(temperature=each)) for each in (0.0, temperature, 1.0)])
    assert picked[1] is None
    assert picked[0] is not None
    assert picked[2] is not None


def test_a_top_k_beyond_the_vocabulary_means_all() -> None:
    """In a small vocabulary; its neighbours in the step must not suffer for it."""
    scores, draws = logits()[:, :300], [0.3]
    all_of_it = Choice(top_k=300)
    expected = choose(scores.clone(), [Scripted(all_of_it, draws)])
    for wide in (500, 10**20):
        assert choose(scores.clone(), [Scripted(Choice(top_k=wide), draws)]) == expected


def test_a_top_k_below_zero_means_all() -> None:
    """As other servers have it."""
    assert resolve_choice(Sampling(top_k=-1), Defaults(top_k=40), vocabulary=9).top_k == 0


def test_what_a_request_leaves_out_comes_from_the_defaults() -> None:
    """And a zero is not left out."""
    defaults = Defaults(temperature=0.9, top_k=40, top_p=0.8, repetition_penalty=1.05)
    choice = resolve_choice(Sampling(temperature=0.0, top_k=0), defaults, vocabulary=9)
    assert choice == Choice(temperature=0.0, top_k=0, top_p=0.8, repetition_penalty=1.05)
