"""A checkpoint reads only what is asked for, and reports every file that is missing or damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tercet_engine.checkpoint import Checkpoint, CheckpointError, open_checkpoint


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return shutil.copytree(demo, tmp_path / "checkpoint")


def test_load_strips_the_prefix_and_reads_what_is_stored(checkpoint: Checkpoint, demo: Path) -> None:
    """All tensors under a prefix, or those named."""
    stored = load_file(demo / "model.safetensors")
    whole = checkpoint.load("talker.")
    assert whole.keys() == {name.removeprefix("talker.") for name in stored if name.startswith("talker.")}
    some = checkpoint.load("talker.thinker_to_talker_proj.", ["weight"])
    assert some.keys() == {"weight"}
    assert torch.equal(some["weight"], stored["talker.thinker_to_talker_proj.weight"])


def test_rows_come_in_the_order_asked_for(checkpoint: Checkpoint) -> None:
    """Single rows equal those of the whole matrix."""
    name = "thinker.model.embed_tokens.weight"
    matrix = checkpoint.load(name)[""]
    assert torch.equal(checkpoint.rows(name, [270, 3, 3]), matrix[[270, 3, 3]])


def test_an_unknown_tensor_is_named(checkpoint: Checkpoint) -> None:
    """A checkpoint of another model fails with the tensor it lacks."""
    with pytest.raises(CheckpointError, match=r"no file holds the tensor talker\.nothing"):
        checkpoint.load("talker.", ["nothing"])


def test_speakers_and_generation_are_read(checkpoint: Checkpoint) -> None:
    """Both voices with their shapes, and the reply's end tokens."""
    assert checkpoint.speakers.keys() == {"Chelsie", "Ethan"}
    dit = checkpoint.config.token2wav_config.dit_config
    for speaker in checkpoint.speakers.values():
        assert speaker.cond.shape == (1, dit.enc_emb_dim)
        assert speaker.ref_mel.shape[::2] == (1, dit.mel_dim)
    assert checkpoint.generation["max_new_tokens"] == 64
    assert checkpoint.end_tokens == set(checkpoint.generation["eos_token_id"])


def test_without_a_generation_config_the_model_says_what_ends_a_reply(copy: Path) -> None:
    """The file is optional in the published layout."""
    remove("generation_config.json")(copy)
    checkpoint = open_checkpoint(copy)
    assert checkpoint.generation == {}
    assert checkpoint.end_tokens == {checkpoint.config.thinker_config.eos_token_id}


def test_a_checkpoint_of_several_files_reads_as_one(copy: Path) -> None:
    """Tensors are found by the index."""
    tensors = load_file(copy / "model.safetensors")
    split_in_two(copy, tensors)
    checkpoint = open_checkpoint(copy)
    assert checkpoint.files.keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in checkpoint.load("").items())


def split_in_two(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    weight_map: dict[str, str] = {}
    for number, prefix in enumerate(("thinker.", "t")):
        shard = f"model-{number}.safetensors"
        part = {
            name: tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix) and name not in weight_map
        }
        save_file(part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def truncate(name: str, keep: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep])

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)

    return damage


def lose_a_tensor_of_the_index(folder: Path) -> None:
    split_in_two(folder, load_file(folder / "model.safetensors"))
    shard = folder / "model-1.safetensors"
    tensors = load_file(shard)
    del tensors["talker.codec_head.weight"]
    save_file(tensors, shard)


def remove_end_tokens(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    thinker = config["thinker_config"]
    del thinker["eos_token_id"], thinker["text_config"]["eos_token_id"]
    (folder / "config.json").write_text(json.dumps(config))


def lose_a_shard(folder: Path) -> None:
    split_in_two(folder, load_file(folder / "model.safetensors"))
    (folder / "model-0.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (remove("config.json"), "config.json: missing"),
        (write("config.json", "{"), "config.json: not readable as JSON"),
        (write("config.json", "{}"), "config.json: model_type is None"),
        (write("config.json", "[]"), "config.json: holds a list, not an object"),
        (write("config.json", '{"model_type": "llama"}'), "config.json: model_type is 'llama'"),
        (remove_end_tokens, "config.json: thinker_config has no eos_token_id"),
        (remove("tokenizer.json"), "tokenizer.json or vocab.json: missing"),
        (remove("spk_dict.pt"), "spk_dict.pt: missing"),
        (truncate("spk_dict.pt", 2_000), "spk_dict.pt: not readable"),
        (remove("model.safetensors"), "model.safetensors: missing"),
        (truncate("model.safetensors", 3), "model.safetensors: truncated: only 3 bytes"),
        (truncate("model.safetensors", 900), "model.safetensors: truncated within its header"),
        (truncate("model.safetensors", 5_000_000), "model.safetensors: truncated or damaged: 5000000 bytes"),
        (write("model.safetensors", "<!doctype html>"), "model.safetensors: not a safetensors file"),
        (lose_a_tensor_of_the_index, "lacks 1 tensors of the index, e.g. talker.codec_head.weight"),
        (lose_a_shard, "model-0.safetensors: missing"),
        (write("model.safetensors.index.json", "{}"), "model.safetensors.index.json: has no weight_map"),
    ],
)
def test_each_kind_of_damage_is_named(copy: Path, damage: Callable[[Path], None], line: str) -> None:
    """The message has the file and what is wrong with it."""
    damage(copy)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(copy)
    assert f"\n- {line}" in str(raised.value) or f": {line}" in str(raised.value)


def test_all_faults_are_reported_at_once(copy: Path) -> None:
    """Nobody fetches ten gigabytes again to learn of the next fault."""
    for damage in (remove("tokenizer.json"), truncate("model.safetensors", 900), remove("spk_dict.pt")):
        damage(copy)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(copy)
    faults = [line for line in str(raised.value).splitlines() if line.startswith("- ")]
    assert len(faults) == 3


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The path that was asked for is in the message."""
    with pytest.raises(CheckpointError, match=r"nowhere.*\n.*no such folder"):
        open_checkpoint(tmp_path / "nowhere")
