"""What the benchmarks make of their measurements."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tercet_cli.deployment_file import read_deployment
from tercet_cli.measuring import Run
from tercet_cli.timings import TurnFigures
from tercet_wire.names import Stage

from bench import against_transformers, product, seam
from bench.__main__ import main
from bench.machine import describe_machine
from bench.product import Sums
from bench.reports import Claim, Report, print_report, write_report
from bench.transformers_peer import PeerRun
from bench.workload import PROMPT, Workload, read_workload


def _turn(ttfa_s: float, rtf: float) -> TurnFigures:
    return TurnFigures(
        ttft_s=0.01,
        ttfa_s=ttfa_s,
        rtf=rtf,
        stream_rtf=rtf,
        underrun_s=0.0,
        tokens_per_s=100.0,
        audio_s=10.0,
        text_tokens=125,
    )


WAY = seam.Way(
    reading_s=0.003,
    first_s={Stage.THINKER: 0.042, Stage.TALKER: 0.03, Stage.CODE2WAV: 0.068},
    inside_s={Stage.THINKER: 0.04, Stage.TALKER: 0.029, Stage.CODE2WAV: 0.066},
)


def _round(ttfa_s: float, peer_s: float) -> against_transformers.Round:
    """Eight turns take 8 s here and five times as long as one there; with midpoint all takes half."""
    with_rk4, with_midpoint = (
        against_transformers.ProductRun(
            single=Run(turns=(_turn(share * ttfa_s, share * 0.2),), failures=(), wall_s=share * 2.0),
            many=Run(turns=(_turn(3 * ttfa_s, 0.7),) * 8, failures=(), wall_s=share * 8.0),
            gateway_cpu_s=0.8,
        )
        for share in (1.0, 0.5)
    )
    return against_transformers.Round(
        product=with_rk4,
        midpoint=with_midpoint,
        peer_single=PeerRun(wall_s=peer_s, audio_s=10.0),
        peer_many=PeerRun(wall_s=5 * peer_s, audio_s=80.0),
    )


def test_claims_are_judged_on_medians() -> None:
    """One slow round out of three does not decide."""
    report = against_transformers.judge(
        [_round(0.1, 7.0), _round(9.0, 7.0), _round(0.1, 7.0)], gateway_rss_bytes=100 * 2**20
    )
    first_sound, rtf, cheap_rtf, throughput, lengths = report.claims
    assert first_sound.measured == pytest.approx(70.0)
    assert rtf.measured == pytest.approx(0.2 / 0.7)
    assert cheap_rtf.measured == pytest.approx(0.1 / 0.7)
    assert throughput.measured == pytest.approx((80 / 8) / (80 / 35))
    assert lengths.measured == pytest.approx(1.0)
    assert [claim.is_met for claim in report.claims] == [True, False, False, True, True]
    json.dumps(report.raw)


def test_the_two_deployments_differ_in_their_solver_alone() -> None:
    """Else more than that is compared."""
    reference, midpoint = (
        read_deployment(path).model_dump() for path in (product.BENCH_YAML, product.MIDPOINT_YAML)
    )
    assert midpoint["spec"]["speech"] != reference["spec"]["speech"]
    for each in (reference, midpoint):
        del each["spec"]["speech"]["solver"], each["spec"]["speech"]["points"]
    assert midpoint == reference


def test_the_seam_is_first_sound_over_its_computing() -> None:
    """Medians part by part, so that an outlier of one stage does not count."""
    fast = seam.Computing(thinker_s=0.05, talker_s=0.02, code2wav_s=0.03)
    slow = seam.Computing(thinker_s=0.05, talker_s=2.0, code2wav_s=0.03)
    rounds = [seam.Round(ttfa_s=(0.12, 0.12, 5.0), computing=each, way=WAY) for each in (fast, slow, fast)]
    (claim,) = seam.judge(rounds).claims
    assert claim.measured == pytest.approx(1.2)


def test_every_part_of_the_way_to_the_first_sound_is_named_once() -> None:
    parts = dict(seam.list_way(0.12, [WAY, WAY]))
    assert sum(parts.values()) == pytest.approx(0.12)
    assert parts["thinker: prompt and first token"] == pytest.approx(0.04)
    assert parts["code2wav: first window, with the codes' way there"] == pytest.approx(0.036)
    assert parts["gateway to client"] == pytest.approx(0.007)


def test_the_way_is_read_from_what_the_histograms_grew_by() -> None:
    """Two turns before, two turns after."""
    overhead, latency = "tercet_gateway_overhead_seconds", "tercet_gateway_stage_latency_seconds"
    before: Sums = {(f"{overhead}_sum", "", ""): 1.0, (f"{overhead}_count", "", ""): 2.0}
    after = {(f"{overhead}_sum", "", ""): 1.006, (f"{overhead}_count", "", ""): 4.0}
    for stage in Stage:
        for phase, seconds in (("first", 0.04), ("inside", 0.03)):
            after[f"{latency}_sum", stage, phase] = 2 * seconds
            after[f"{latency}_count", stage, phase] = 2.0
    way = seam.read_way(before, after)
    assert way.reading_s == pytest.approx(0.003)
    assert way.first_s[Stage.TALKER] == pytest.approx(0.04)
    assert way.inside_s[Stage.CODE2WAV] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("measured", "at_least", "met"),
    [(30.0, True, True), (29.9, True, False), (30.0, False, True), (31.0, False, False)],
)
def test_a_claim_is_met_at_its_target(measured: float, at_least: bool, met: bool) -> None:
    """From either side."""
    assert Claim(text="", measured=measured, target=30, at_least=at_least).is_met is met


def test_a_report_is_printed_and_written_with_its_setup(tmp_path: Path) -> None:
    """A claim that is not met stands out in both."""
    claim = Claim(text="fast", measured=1.0, target=2, at_least=True)
    report = Report(
        name="x", title="X", columns=("a", "b"), rows=[("one", "1")], claims=[claim], raw={"r": 1}
    )
    screen = io.StringIO()
    print_report(report, Console(file=screen, width=80))
    assert "NOT MET" in screen.getvalue()
    document = json.loads(write_report(report, {"cores": 2}, tmp_path / "results").read_text())
    assert document["setup"] == {"cores": 2}
    assert document["claims"][0]["met"] is False


def test_the_machine_is_named_with_commit_and_versions() -> None:
    """Figures without these say nothing."""
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["commit"] != "unknown"
    assert machine["versions"]["torch"].startswith("2.")


def test_every_party_is_asked_the_same(tmp_path: Path) -> None:
    """The gateway, the stages and transformers get one prompt, one length, no end."""
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    workload = read_workload(tmp_path, 40)
    body, turn = workload.request("bench").body(), workload.turn()
    assert body["max_completion_tokens"] == turn.sampling.max_tokens == 40
    assert body["logit_bias"] == {"7": -100.0, "9": -100.0}
    assert turn.sampling.logit_bias == {7: -100.0, 9: -100.0}
    asked = [body["messages"][0]["content"], workload.chat()[-1]["content"][0]["text"]]
    assert [text.partition(". ")[2] for text in asked] == [PROMPT, PROMPT]
    assert asked[0] != asked[1]


def test_a_checkpoint_may_have_one_end_token(tmp_path: Path) -> None:
    """As some generation configs have."""
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert read_workload(tmp_path, 40) == Workload(text_tokens=40, end_tokens=(7,))


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names there are."""
    with pytest.raises(SystemExit):
        main(["fastest"])
    assert "no such benchmark: fastest" in capsys.readouterr().err
