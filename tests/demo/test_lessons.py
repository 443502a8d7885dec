"""What is trained is what is served: the engine chooses what the training code scores highest."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.demo.vocabulary import TOKENS, VOCABULARY_SIZE
from tercet_engine.stage import ThinkerInput
from tercet_wire.messages import Sampling, Speech
from torch import Tensor
from transformers import Qwen2_5OmniForConditionalGeneration

from demo.attention import choose_attention
from demo.conversations.conversing import Kind, draw_conversations
from demo.conversations.scenes import Conversation, Message, Part, Picture, Sound, Video
from demo.media.rendering import render
from demo.media.sounds import SpokenPool
from demo.size import build_demo_config
from demo.thinker.concepts import CONCEPTS
from demo.thinker.lessons import Batch, Classroom, Lesson, collate
from demo.thinker.model import ThinkerNet, strengthen_states, weaken_states
from demo.voice.dictation import Dictation
from demo.voice.listening import Model, Spoken
from demo.voice.prompts import read_prompts, write_prompts
from demo.voice.synthesis import VOICES
from demo.voice.talker import Lines, Sayable

_TOKENS: Final = 12
_CODES: Final = 24
_END_CODES: Final = (8292, 8294)
_NEXT_TO_NOTHING: Final = 1e-4
_PRINTABLE: Final = slice(0x20, 0x7F)
_ONLY_PRINTABLE: Final = {
    token: -100.0 for token in range(VOCABULARY_SIZE) if not _PRINTABLE.start <= token < _PRINTABLE.stop
}
"""A network that knows nothing says any bytes; only these are text."""


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Iterator[Model]:
    with Model(checkpoint, {}) as opened:
        yield opened


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_engine_answers_as_the_trained_network(
    kind: Kind, model: Model, thinker: ThinkerNet, checkpoint: Path, pool: SpokenPool
) -> None:
    conversation = next(draw_conversations(2, kind=kind))
    reply = _answer(model, conversation, pool).text.encode()
    assert len(reply) == _TOKENS
    lesson = Classroom(open_checkpoint(checkpoint), pool).prepare(conversation)
    said = Lesson(conversation=conversation, prepared=lesson.prepared, reply=[*reply, TOKENS["<|im_end|>"]])
    with torch.inference_mode():
        logits, targets = thinker(_unrounded(collate([said]), said))
    last = slice(-len(reply) - 1, -1)
    highest = logits[last, _PRINTABLE].argmax(-1) + _PRINTABLE.start
    assert highest.tolist() == targets[last].tolist()


def test_every_reply_of_a_conversation_is_learned(checkpoint: Path, pool: SpokenPool) -> None:
    classroom = Classroom(open_checkpoint(checkpoint), pool)
    hello, bye = (Message(role="user", parts=(text,)) for text in ("Hi", "Bye"))
    answer = Message(role="assistant", parts=("Hello.",))
    lessons = [
        classroom.prepare(Conversation(kind="text", topic="", messages=messages, reply="See you."))
        for messages in ((hello, answer, bye), (bye,))
    ]
    targets = collate(lessons).targets
    learned = [bytes(each for each in row if 0 <= each < 256).decode() for row in targets.tolist()]
    assert learned == ["Hello.See you.", "See you."]
    ends = (targets == TOKENS["<|im_end|>"]).sum(1)
    assert ends.tolist() == [2, 1]


def test_a_batch_scores_each_conversation_as_if_alone(
    thinker: ThinkerNet, checkpoint: Path, pool: SpokenPool
) -> None:
    classroom = Classroom(open_checkpoint(checkpoint), pool)
    lessons = [classroom.prepare(next(draw_conversations(3, kind=kind))) for kind in get_args(Kind)]
    with torch.inference_mode():
        together, _ = thinker(collate(lessons))
        alone = torch.cat([thinker(collate([lesson]))[0] for lesson in lessons])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_weak_states_leave_the_words_as_they_are(
    thinker: ThinkerNet, checkpoint: Path, pool: SpokenPool
) -> None:
    lesson = Classroom(open_checkpoint(checkpoint), pool).prepare(next(draw_conversations(4, kind="text")))
    weights = {name: value.clone() for name, value in thinker.state_dict().items()}
    weaken_states(weights)
    weakened = ThinkerNet(build_demo_config().thinker_config).eval()
    weakened.load_state_dict(weights)
    with torch.inference_mode():
        torch.testing.assert_close(
            weakened(collate([lesson]))[0], thinker(collate([lesson]))[0], atol=1e-3, rtol=1e-4
        )
    assert weights["model.norm.weight"].abs().max() < 0.1
    strengthen_states(weights)
    assert weights["model.norm.weight"].square().mean() == pytest.approx(1.0)


def test_the_faster_attention_is_the_same(thinker: ThinkerNet, checkpoint: Path, pool: SpokenPool) -> None:
    """Whether the rows that all share are many or few; an untrained network magnifies rounding."""
    classroom = Classroom(open_checkpoint(checkpoint), pool)
    lessons = [classroom.prepare(next(draw_conversations(5, kind=kind))) for kind in get_args(Kind)]
    faster = ThinkerNet(build_demo_config().thinker_config, choose_attention(torch.device("cpu"))).eval()
    faster.load_state_dict(thinker.state_dict())
    for batch in (collate(lessons), collate(lessons[:1])):
        with torch.inference_mode():
            scores, expected = faster(batch)[0], thinker(batch)[0]
        assert (scores - expected).abs().max() < 0.05 * expected.std()


def test_the_encoders_are_judged_on_all_that_is_shown(
    thinker: ThinkerNet, checkpoint: Path, pool: SpokenPool
) -> None:
    """One row of concepts for each sound, picture and video, in the order of their features."""
    classroom = Classroom(open_checkpoint(checkpoint), pool)
    video = Video(color="red", shape="star", direction="up", seed=1, question="Where does it go?")
    parts: list[tuple[Part, ...]] = [
        (video,),
        (Picture(color="blue", shape="heart", count=2, seed=2), Sound(kind="beeps", what="3", seed=3)),
    ]
    conversations = [
        Conversation(kind="video", topic="", messages=(Message(role="user", parts=shown),), reply="It is.")
        for shown in parts
    ]
    batch = collate([classroom.prepare(each) for each in conversations])
    names = [[CONCEPTS[index] for index in row.nonzero().flatten()] for row in batch.concepts]
    assert names == [
        ["speech Where does it go?"],
        ["beeps 3"],
        ["color blue", "shape heart", "count 2"],
        ["color red", "shape star", "direction up"],
    ]
    with torch.inference_mode():
        perceived = thinker.perceive(batch)
    assert [len(features) > 0 for features in perceived] == [True] * 4


def test_codes_that_are_never_said_share_their_score(talker: Any) -> None:
    """The likelihoods are those of the whole head."""
    end = talker.config.tts_codec_end_token_id
    sayable = Sayable(talker.codec_head, 2048, end)
    head = talker.codec_head.weight.detach().clone()
    sayable.share_row(head)
    hidden = torch.randn(3, head.shape[1])
    said = torch.tensor([1, 2048, end])
    whole = (hidden @ head.T).log_softmax(-1)
    few = sayable.score(hidden).log_softmax(-1)
    torch.testing.assert_close(few[:, sayable.find(said)], whole[:, said])


def test_the_talker_is_trained_on_the_rows_that_it_is_served(
    thinker: ThinkerNet, talker: Any, checkpoint: Path, pool: SpokenPool, tmp_path: Path
) -> None:
    """Fed with the codes that the engine chose greedily, the training rows score the same codes highest."""
    conversation = next(draw_conversations(6, kind="sound"))
    with Model(_silence_states(thinker, checkpoint, tmp_path), {}) as model:
        replies = [_speak(model, conversation, pool, voice.name) for voice in VOICES]
    text = replies[0].text[:-1]  # the last token, which is the end token otherwise, is not fed back
    talk = replace(conversation, reply=text)
    shutil.copy(pool.path, tmp_path)
    write_prompts([talk], [text], checkpoint, tmp_path, workers=1)
    codes = torch.tensor([code for reply in replies for code in reply.codes])
    lines = Lines(talker.config, _text_embeddings(thinker), read_prompts(tmp_path), _dictation(text, codes))
    rows = lines.lay_out(torch.arange(len(VOICES)), 10_000)
    with torch.inference_mode():
        spoken = talker.model.embed_tokens(rows.codes.clamp(min=0)) * (rows.codes >= 0)[..., None]
        inputs = talker.thinker_to_talker_proj(rows.states + spoken)
        hidden = talker.model(inputs_embeds=inputs, position_ids=rows.positions, use_cache=False)[0]
    is_code = (rows.targets >= 0) & (rows.targets != talker.config.tts_codec_end_token_id)
    assert [len(reply.codes) for reply in replies] == [_CODES] * len(VOICES)
    assert is_code.sum() == len(VOICES) * _CODES
    scores = talker.codec_head(hidden[is_code])
    scores[:, list(_END_CODES)] = float("-inf")
    assert scores.argmax(-1).tolist() == codes.tolist()


def test_what_is_not_dictated_has_no_prompt(checkpoint: Path, tmp_path: Path) -> None:
    talk = next(draw_conversations(6, kind="text"))
    with pytest.raises(ValueError, match="not in the dictation"):
        write_prompts([talk], [f"{talk.reply} again"], checkpoint, tmp_path, workers=1)


def test_transformers_loads_the_checkpoint_as_it_is(checkpoint: Path) -> None:
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(checkpoint)
    held = load_file(checkpoint / "model.safetensors")
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in held.values())
    assert model.thinker.lm_head.weight.tolist() == held["thinker.lm_head.weight"].tolist()
    assert set(model.speaker_map) == {"Chelsie", "Ethan"}


def _answer(
    model: Model, conversation: Conversation, pool: SpokenPool, speech: Speech | None = None
) -> Spoken:
    rendered = render(conversation, pool)
    sampling = Sampling(max_tokens=_TOKENS, repetition_penalty=1.0, logit_bias=_ONLY_PRINTABLE)
    turn = rendered.turn.model_copy(update={"sampling": sampling, "speech": speech})
    (spoken,) = model.answer([ThinkerInput(turn=turn, pixels=rendered.pixels, samples=rendered.samples)])
    return spoken


def _speak(model: Model, conversation: Conversation, pool: SpokenPool, voice: str) -> Spoken:
    sampling = Sampling(
        temperature=0.0,
        repetition_penalty=1.0,
        max_tokens=_CODES,
        logit_bias=dict.fromkeys(_END_CODES, -100.0),
    )
    return _answer(model, conversation, pool, Speech(voice=voice, sampling=sampling))


def _silence_states(thinker: ThinkerNet, checkpoint: Path, folder: Path) -> Path:
    """The same checkpoint with hidden states next to nothing: what is left of a state is its embedding."""
    copy = folder / "silent"
    shutil.copytree(checkpoint, copy)
    weights = load_file(copy / "model.safetensors")
    weights["thinker.model.norm.weight"] *= _NEXT_TO_NOTHING
    weights["thinker.lm_head.weight"] /= _NEXT_TO_NOTHING
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def _text_embeddings(thinker: ThinkerNet) -> Tensor:
    config = thinker._config
    embeddings: Tensor = thinker.model.embed_tokens.weight.detach().clone()
    embeddings[[config.audio_token_id, config.image_token_id, config.video_token_id]] = 0
    return embeddings


def _dictation(text: str, codes: torch.Tensor) -> Dictation:
    """One text in each voice, as many codes long as were chosen."""
    return Dictation(texts=(text,), codes=codes, starts=_CODES * torch.arange(len(VOICES) + 1))


def _unrounded(batch: Batch, lesson: Lesson) -> Batch:
    """Pictures in full precision, as the engine has them."""
    prepared = lesson.prepared
    images = torch.cat([torch.empty(0, 1176), *(image.values for image in prepared.images)])
    videos = torch.cat([torch.empty(0, 1176), *(video.values for video in prepared.videos)])
    return replace(batch, images=images, videos=videos)
