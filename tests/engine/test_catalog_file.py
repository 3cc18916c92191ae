"""The catalog is strict: every mistake names the file, the model and the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from generation.engine.catalog import PROJECT_ROOT, ModelSpec, read_catalog
from generation.engine.errors import CatalogError

SHIPPED = PROJECT_ROOT / "deploy" / "models.toml"


def write(tmp_path: Path, body: str) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(body, encoding="utf-8")
    return file


def test_three_lines_make_a_model(tmp_path: Path) -> None:
    (spec,) = read_catalog(write(tmp_path, '[mine]\nfamily = "qwen-image"\npath = "/models/mine"\n'))
    assert (spec.slug, spec.title, spec.folder) == ("mine", "mine", Path("/models/mine"))
    assert (spec.default_steps, spec.true_cfg_scale, spec.max_prompt_tokens) == (50, 4.0, 512)
    assert spec.enabled and spec.turbo_lora is None
    assert spec.tasks == ("text-to-image", "image-to-image", "inpaint") and "tasks" not in spec.to_table()


def test_the_shipped_file_reads() -> None:
    specs = {spec.slug: spec for spec in read_catalog(SHIPPED)}
    demo, turbo = specs["demo"], specs["qwen-image-turbo"]
    assert {spec.family for spec in specs.values()} == {"qwen-image", "qwen-image-2.1", "qwen-image-edit", "z-image"}
    for spec in specs.values():
        if spec.folder is None:  # from a hub: a commit, and where and when it was read
            assert spec.revision is not None and len(spec.revision) == 40 and spec.source and spec.licence
            assert spec.read_on >= "2026-11-26" and not spec.enabled
    assert turbo.turbo_lora is not None and turbo.turbo_lora.revision is not None
    assert demo.enabled and demo.folder == PROJECT_ROOT / "generation/engine/demo/checkpoint"
    assert (demo.default_steps, demo.true_cfg_scale) == (4, 1.0)
    assert not turbo.enabled and turbo.folder is None and turbo.turbo_lora is not None
    assert (turbo.default_steps, turbo.true_cfg_scale) == (4, 1.0)
    measured = {slug for slug, spec in specs.items() if spec.compile}
    assert measured == {"qwen-image-turbo", "z-image-turbo"}, "docs/performance.md has what compiling gains them"
    for spec in specs.values():
        assert ModelSpec.from_table(spec.slug, json.loads(json.dumps(spec.to_table()))) == spec


def test_the_turbo_entry_has_the_schedule_of_its_lora() -> None:
    from generation.engine.schedule import Schedule  # torch: only this test needs it

    spec = {spec.slug: spec for spec in read_catalog(SHIPPED)}["qwen-image-turbo"]
    published = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "shift_terminal": 0.02}
    schedule = Schedule(config={**published, "max_image_seq_len": 8192}, overrides=spec.scheduler)
    assert schedule.sigmas(steps=4, image_tokens=4096).tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0], abs=1e-6)
    plain = Schedule(config={**published, "max_image_seq_len": 8192}, overrides={})
    assert plain.sigmas(steps=4, image_tokens=4096)[3] == pytest.approx(0.02, abs=1e-4)


BASE = 'family = "qwen-image"\npath = "x"\n'
BASE_21 = 'family = "qwen-image-2.1"\npath = "x"\n'
TENANT = "01998e6c-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("family = 1\n", "family: stands outside a model's table"),
        ("[m]\npath = 'x'\n", "model m: family: is missing"),
        ("[m]\nfamily = 'qwen-image'\n", "model m: path: is missing"),
        (
            "[m]\nfamily = 'flux'\npath = 'x'\n",
            "family: 'flux' is unknown, allowed: qwen-image, qwen-image-edit, qwen-image-2.1, z-image",
        ),
        ("[M_x]\n" + BASE, "model M_x: slug"),
        ("[m]\n" + BASE + "steps = 4\n", "model m: steps: is unknown, the keys are"),
        ("[m]\n" + BASE + "default_steps = '4'\n", "model m: default_steps: must be a whole number"),
        ("[m]\n" + BASE + "default_steps = true\n", "model m: default_steps: must be a whole number"),
        ("[m]\n" + BASE + "default_steps = 60\n", "model m: default_steps: 60 is not within 1 to 50"),
        ("[m]\n" + BASE + "enabled = 1\n", "model m: enabled: must be true or false"),
        ("[m]\n" + BASE + "true_cfg_scale = nan\n", "model m: true_cfg_scale: must be a finite number"),
        ("[m]\n" + BASE + "title = 3\n", "model m: title: must be text"),
        ("[m]\n" + BASE + "tasks = ['paint']\n", "model m: tasks: 'paint' is unknown"),
        ("[m]\n" + BASE + "offload = 'disk'\n", "model m: offload: 'disk' is unknown"),
        ("[m]\n" + BASE + "turbo_lora = 'x'\n", "model m: turbo_lora: must be {path, scale, revision}"),
        ("[m]\n" + BASE + "turbo_lora = {path = 'x'}\n", "model m: turbo_lora: needs its schedule"),
        ("[m]\n" + BASE + "scheduler = {sift = 3}\n", "model m: scheduler.sift: is unknown"),
        ("[m]\n" + BASE + "scheduler = {shift = '3'}\n", "model m: scheduler.shift: must be float"),
        ("[m]\n" + BASE + "sigmas = [0.5, 1.0]\n", "model m: sigmas: must descend"),
        ("[m]\n" + BASE + "sigmas = [1.0, 0.0]\n", "model m: sigmas: must descend"),
        ("[m]\n" + BASE + "sigmas = [1.0, 0.5]\nmax_steps = 9\n", "model m: sigmas: fixes the steps"),
        ("[m]\n" + BASE + "sigmas = [1.0]\nscheduler = {shift = 3.0}\n", "sigmas: and scheduler exclude"),
        ("[m]\n" + BASE + "size_multiple = 24\n", "model m: size_multiple: 24 is not a multiple of 16"),
        ("[m]\n" + BASE_21 + "size_multiple = 48\n", r"size_multiple: 48 is not a multiple of 32, as qwen-image-2\.1"),
        ("[m]\n" + BASE_21 + "sizes = [[1040, 1024]]\n", "sizes: 1040 × 1024 is not a multiple of 32"),
        ("[m]\n" + BASE_21 + "length_buckets = [512]\n", "length_buckets: must be empty: family qwen-image-2"),
        ("[m]\n" + BASE + "lane = 'red'\n", "model m: lane: 'red' is unknown, allowed: blue, green"),
        ("[m]\n" + BASE + "tenants = ['acme']\n", "model m: tenants: 'acme' is no tenant's id"),
        ("[m]\n" + BASE + f"tenants = ['{TENANT}', '{TENANT}']\n", "model m: tenants: names one twice"),
        ("[m]\n" + BASE + "tasks = []\n", "model m: tasks: is empty, allowed: text-to-image"),
        ("[m]\n" + BASE + "revision = '../main'\n", r"model m: revision: '\.\./main' is no commit, tag or branch"),
        ("[m]\n" + BASE + "read_on = 'yesterday'\n", "model m: read_on: must be a date like 2026-11-26"),
        ("[m]\n" + BASE + "read_on = 2026-11-26T10:00:00\n", "model m: read_on: must be text, got datetime"),
        ("[m]\n" + BASE + "read_on = 3\n", "model m: read_on: must be text, got 3"),
        ("[m]\n" + BASE + "turbo_lora = {path = 'x', scale = 9}\n", r"turbo_lora\.scale: 9 is out of range, -4 to 4"),
        ("[m]\n" + BASE + "turbo_lora = {path = 'x', revision = 1}\n", r"turbo_lora\.revision: must be text"),
        (
            "[m]\n" + BASE + "turbo_lora = {path = 'x', revision = '?'}\nsigmas = [1.0]\n",
            r"turbo_lora\.revision: '\?' is",
        ),
        ("[m]\n" + BASE + "sizes = [[100, 64]]\n", "model m: sizes: 100 × 64 is not a multiple of 16"),
        ("[m]\n" + BASE + "sizes = [[4096, 64]]\n", "model m: sizes: 4096 × 64 is over 2048 × 2048"),
        ("[m]\n" + BASE + "sizes = [[64]]\n", "model m: sizes: must be a list of"),
        ("[m]\n" + BASE + "max_prompt_tokens = 2000\n", "model m: max_prompt_tokens: 2000 is out of range"),
        ("[m]\n" + BASE + "length_buckets = [64]\n", "model m: length_buckets: must reach max_prompt_tokens"),
        ("[m]\n" + BASE + "length_buckets = [512, 64]\n", "model m: length_buckets: must ascend"),
        ("[m]\n" + BASE + "batch_max = 0\n", "model m: batch_max: 0 is out of range"),
        ("[m\n", "is no valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, body: str, message: str) -> None:
    file = write(tmp_path, body)
    with pytest.raises(CatalogError, match=message) as caught:
        read_catalog(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere\.toml: cannot be read .* STUDIO_MODELS"):
        read_catalog(tmp_path / "nowhere.toml")


def test_hub_ids_and_folders(tmp_path: Path) -> None:
    def spec(path: str) -> ModelSpec:
        return ModelSpec.from_table("m", {"family": "qwen-image", "path": path})

    assert spec("Qwen/Qwen-Image").folder is None
    assert spec("tests/engine").folder == PROJECT_ROOT / "tests/engine"  # two words, but a folder of the project
    assert spec("a/b/c").folder == PROJECT_ROOT / "a/b/c"
    assert spec(str(tmp_path)).folder == tmp_path


def test_what_an_entry_leaves_out_is_the_familys() -> None:
    def spec(family: str, **fields: object) -> ModelSpec:
        return ModelSpec.from_table("m", {"family": family, "path": "x", **fields})

    assert (spec("qwen-image").size_multiple, spec("qwen-image").length_buckets[-1]) == (16, 1024)
    assert (spec("qwen-image-2.1").size_multiple, spec("qwen-image-2.1").length_buckets) == (32, ())
    assert (spec("z-image").size_multiple, spec("z-image").length_buckets) == (16, (512,))
    assert spec("qwen-image-2.1", size_multiple=64).size_multiple == 64


def test_new_keys_are_written_only_where_they_say_something(tmp_path: Path) -> None:
    """The other lane's release reads the same rows, and refuses keys that it does not know."""
    plain = ModelSpec.from_table("m", {"family": "qwen-image", "path": "x"})
    assert not {"lane", "tenants", "read_on", "max_loras", "max_lora_rank", "lora_cache_bytes"} & set(plain.to_table())
    none = ModelSpec.from_table("m", {"family": "qwen-image", "path": "x", "max_loras": 0})
    assert none.to_table()["max_loras"] == 0 and ModelSpec.from_table("m", none.to_table()) == none
    body = "[m]\n" + BASE + f"lane = 'green'\ntenants = ['{TENANT}']\nread_on = 2026-11-26\n"
    (full,) = read_catalog(write(tmp_path, body))
    assert (full.lane, full.tenants, full.read_on) == ("green", (TENANT,), "2026-11-26")
    assert ModelSpec.from_table("m", json.loads(json.dumps(full.to_table()))) == full
