"""Which CLIP a name means, and what can go wrong with its files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants as hub
from PIL import Image

from erragree_utils.models import ModelError, clip_weights, load_clip


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))


def noise(n: int, size=(40, 40), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
        for _ in range(n)
    ]


@pytest.mark.parametrize("keep", [0, 5, 1000, -10], ids=lambda keep: f"keep {keep} bytes")
def test_truncated_weights_are_refused(spoilt_clip, keep):
    path = spoilt_clip / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ModelError, match=r"spoilt cannot be read: its weights are damaged.*fetch it again"
    ):
        load_clip(spoilt_clip)


def test_weights_of_another_architecture_are_refused(spoilt_clip):
    config = json.loads((spoilt_clip / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 48
    (spoilt_clip / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="files of one model"):
        load_clip(spoilt_clip)


def test_a_folder_without_weights_never_gives_random_ones(spoilt_clip):
    (spoilt_clip / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks open_clip_model\.safetensors"):
        load_clip(spoilt_clip)


def test_a_folder_without_tokenizer_is_refused(spoilt_clip, no_network):
    for path in spoilt_clip.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="files of one model"):
        load_clip(spoilt_clip)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ModelError, match="lacks open_clip_config.json and open_clip_model"):
        load_clip(tmp_path / "nowhere")


def test_a_folder_brings_its_own_weights(clip_folder):
    with pytest.raises(ModelError, match="leave pretrained and looks out"):
        load_clip(clip_folder, pretrained="openai")


@pytest.fixture
def tiny_vit_b_32(clip_folder, monkeypatch) -> str:
    """open_clip's ViT-B-32 by its name and tags, in a size that a test can hold."""
    small = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    del small["quick_gelu"], small["text_cfg"]["hf_tokenizer_name"]
    small["text_cfg"] |= {"context_length": 77, "vocab_size": 49408}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", small)
    return "ViT-B-32"


@pytest.fixture
def own_weights(tiny_vit_b_32, tmp_path) -> Path:
    model = open_clip.create_model(tiny_vit_b_32)
    torch.save(model.state_dict(), tmp_path / "tuned.pt")
    return tmp_path / "tuned.pt"


def looks(clip) -> tuple:
    """Activation, mean and standard deviation that images really meet."""
    *_, normalise = clip.preprocess.transforms
    gelu = type(clip.model.visual.transformer.resblocks[0].mlp.gelu).__name__
    return gelu, tuple(normalise.mean), tuple(normalise.std)


@pytest.mark.filterwarnings("ignore:the published weights of ViT-B-32 differ")
class TestWeightsOfOnesOwn:
    """A file does not say which activation and preprocessing it was trained with."""

    def test_they_are_evaluated_as_the_default_tag_is_and_say_so(self, own_weights):
        clip = load_clip("ViT-B-32", pretrained=own_weights, device="cpu")
        openai = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        assert looks(clip) == ("QuickGELU", *openai)
        assert clip.name == "ViT-B-32:tuned"
        assert "tuned.pt, activation and preprocessing those of 'openai'" in repr(clip)

    def test_embeddings_are_those_of_open_clip_told_to_take_the_same(self, own_weights):
        ours = load_clip("ViT-B-32", pretrained=str(own_weights), device="cpu")
        model, _, preprocess = open_clip.create_model_and_transforms(
            "ViT-B-32", pretrained=str(own_weights), force_quick_gelu=True
        )
        with torch.no_grad():
            expected = model.eval().encode_image(preprocess(noise(1)[0])[None], normalize=True)
        np.testing.assert_allclose(ours.embed_images(noise(1)), expected.numpy(), atol=1e-6)

    def test_the_looks_of_another_tag_can_be_asked_for(self, own_weights):
        clip = load_clip("ViT-B-32", own_weights, device="cpu", looks="laion2b_s34b_b79k")
        assert looks(clip)[0] == "GELU"
        assert "those of 'laion2b_s34b_b79k'" in clip.weights

    def test_everything_that_a_tag_decides_is_taken(self, monkeypatch, own_weights):
        tag = {"mean": (0.5, 0.5, 0.5), "std": (0.4, 0.4, 0.4), "interpolation": "bilinear",
               "resize_mode": "squash", "quick_gelu": True}  # fmt: skip
        monkeypatch.setattr(
            clip_weights, "get_pretrained_cfg", lambda _, t: tag if t == "openai" else {}
        )
        clip = load_clip("ViT-B-32", pretrained=own_weights, device="cpu")
        assert looks(clip) == ("QuickGELU", (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))
        resize = clip.preprocess.transforms[0]
        assert resize.interpolation.value == "bilinear" and tuple(resize.size) == (32, 32)

    def test_a_tag_that_is_unknown_or_makes_no_sense_is_refused(self, own_weights, clip_folder):
        with pytest.raises(ModelError, match="no weights 'mine' whose looks.*openai"):
            load_clip("ViT-B-32", pretrained=own_weights, looks="mine")
        with pytest.raises(ModelError, match="'openai' have looks of their own"):
            load_clip("ViT-B-32", pretrained="openai", looks="laion2b_s34b_b79k")
        with pytest.raises(ModelError, match="leave pretrained and looks out"):
            load_clip(clip_folder, looks="openai")


def test_a_warning_tells_where_published_weights_of_a_name_differ(own_weights):
    with pytest.warns(UserWarning, match="differ in activation.*'openai' are taken.*looks=") as w:
        load_clip("ViT-B-32", pretrained=own_weights, device="cpu")
    assert w[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_there_is_none_where_they_agree(own_weights, monkeypatch):
    small = open_clip.factory._MODEL_CONFIGS["ViT-B-32"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-L-14-336", small)
    clip = load_clip("ViT-L-14-336", pretrained=own_weights, device="cpu")  # the paper's own
    assert looks(clip)[0] == "QuickGELU"


def test_a_folder_that_lacks_mean_and_deviation_is_told_which_it_gets(spoilt_clip):
    path = spoilt_clip / "open_clip_config.json"
    config = json.loads(path.read_text())
    del config["preprocess_cfg"]["mean"]
    path.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"config\.json has no mean in preprocess_cfg: OpenAI's"):
        load_clip(spoilt_clip)


@pytest.mark.parametrize(
    ("key", "value"), [("mean", [0.5, 0.5]), ("std", [1, 1, 0]), ("mean", "grey"), ("std", None)]
)
def test_a_preprocessing_that_cannot_be_is_named(spoilt_clip, key, value):
    path = spoilt_clip / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json: preprocess_cfg\.{key} needs three numb"):
        load_clip(spoilt_clip)


class Script(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:the published weights of ViT-B-32 differ")
class TestFilesThatAreNoWeights:
    """Whatever the file is, the error has its path and what is the matter, and no bad advice."""

    def refusal(self, path: Path) -> str:
        with pytest.raises(ModelError) as error:
            load_clip("ViT-B-32", pretrained=path, device="cpu")
        text = str(error.value)
        assert str(path) in text and "weights_only" not in text and len(text) < 2000
        return text

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
    def test_torchscript_as_openai_publishes_it(self, tiny_vit_b_32, tmp_path):
        path = tmp_path / "ViT-B-32.pt"
        torch.jit.script(Script()).save(str(path))
        text = self.refusal(path)
        assert "TorchScript archive" in text and "leave pretrained out, or give 'openai'" in text

    def test_weights_of_another_architecture(self, tiny_vit_b_32, tmp_path):
        path = tmp_path / "other.pt"
        torch.save({"visual.proj": torch.zeros(3, 3)}, path)
        assert "of another architecture" in self.refusal(path)

    @pytest.mark.parametrize("content", [[], {}, torch.zeros(2), {"state_dict": {}}, "text"])
    def test_files_of_pytorch_that_hold_no_weights(self, tiny_vit_b_32, tmp_path, content):
        path = tmp_path / "other.pt"
        torch.save(content, path)
        assert "other.pt hold" in self.refusal(path) or "another architecture" in self.refusal(path)

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    def test_files_that_hold_code(self, tiny_vit_b_32, tmp_path):
        for path, write in (
            (tmp_path / "new.pt", lambda p, x: torch.save(x, p)),
            (tmp_path / "old.pkl", lambda p, x: p.write_bytes(pickle.dumps(x))),
        ):
            write(path, {"weight": Intruder(str(tmp_path / "was_here"))})
            assert "holds more than tensors, which is not read" in self.refusal(path)
        assert not (tmp_path / "was_here").exists()

    @pytest.mark.parametrize("end", ["pt", "bin", "safetensors", "npz"])
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "is empty"),
            (b"<!DOCTYPE html><html>Quota exceeded", "a web page or a pointer"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "a web page or a pointer"),
            (b"PK\x03\x04 cut short", "is damaged"),
            (bytes(range(256)) * 9, "is damaged"),
        ],
        ids=["empty", "page", "pointer", "cut zip", "noise"],
    )
    def test_other_files(self, tiny_vit_b_32, tmp_path, end, content, told):
        path = tmp_path / f"x.{end}"
        path.write_bytes(content)
        assert told in self.refusal(path)


class Intruder:
    """Unpickling this runs code of the file's author's choice."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestCodeOfAModel:
    """It is refused at once: nobody is asked whether to run it, since somebody would say yes."""

    @pytest.fixture
    def trap(self, spoilt_clip, tmp_path, monkeypatch) -> Path:
        """A folder with a tokenizer of its own, and a reader who says yes to everything."""
        mark = tmp_path / "was_here"
        (spoilt_clip / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
        monkeypatch.setattr("builtins.input", lambda _: "y")
        yield spoilt_clip
        assert not mark.exists()

    def write(self, folder: Path, file: str, **changes) -> None:
        path = folder / file
        settings = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**settings, **changes}))

    @pytest.mark.parametrize(
        ("file", "kind"),
        [
            ("tokenizer_config.json", "AutoTokenizer"),
            ("config.json", "AutoConfig"),
            ("preprocessor_config.json", "AutoImageProcessor"),
            ("processor_config.json", "AutoProcessor"),
        ],
    )
    def test_whatever_file_names_it(self, trap, file, kind):
        self.write(trap, file, tokenizer_class="Own", auto_map={kind: ["own.Own", None]})
        with pytest.raises(ModelError, match=rf"{file} asks for code.*never run"):
            load_clip(trap)

    def test_however_deep_it_stands(self, trap):
        self.write(trap, "config.json", parts=[{"inner": {"auto_map": {"AutoModel": "own.Own"}}}])
        with pytest.raises(ModelError, match=r"config\.json asks for code"):
            load_clip(trap)

    def test_also_where_the_config_permits_it(self, trap):
        config = json.loads((trap / "open_clip_config.json").read_text())
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
        self.write(trap, "open_clip_config.json", **config)
        self.write(trap, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})
        with pytest.raises(ModelError, match="asks for code"):
            load_clip(trap)

    def test_in_a_text_tower_that_the_config_takes_from_another_folder(self, trap, tmp_path):
        tower = tmp_path / "tower"
        tower.mkdir()
        (tower / "own.py").write_text((trap / "own.py").read_text())
        self.write(tower, "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
        config = json.loads((trap / "open_clip_config.json").read_text())
        config["model_cfg"]["text_cfg"]["hf_model_name"] = str(tower)
        self.write(trap, "open_clip_config.json", **config)
        with pytest.raises(ModelError, match=r"tower.config\.json asks for code"):
            load_clip(trap)

    def test_a_tokenizer_of_a_published_name_is_never_asked_about(self, monkeypatch):
        asked = []
        monkeypatch.setattr(open_clip, "get_tokenizer", lambda name, **kw: asked.append(kw) or len)
        monkeypatch.setattr(open_clip, "create_model_and_transforms", lambda *_, **__: (0, 0, 0))
        named = next(
            name
            for name in open_clip.list_models()
            if open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name")
            and not open_clip.get_model_config(name)["text_cfg"].get("hf_model_name")
        )
        clip_weights.find_clip(named, False).read(torch.device("cpu"), torch.float32)
        assert asked == [{"trust_remote_code": False}]

    def test_settings_that_cannot_be_read_are_named(self, spoilt_clip):
        (spoilt_clip / "tokenizer_config.json").write_text("{" * 5)
        with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read as JSON"):
            load_clip(spoilt_clip)
        (spoilt_clip / "tokenizer_config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
        with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read as JSON"):
            load_clip(spoilt_clip)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(spoilt_clip, tmp_path):
    (spoilt_clip / "open_clip_model.safetensors").unlink()
    torch.save({"weight": Intruder(str(tmp_path / "was_here"))}, spoilt_clip / "pytorch_model.bin")
    with pytest.raises(ModelError, match="damaged"):
        load_clip(spoilt_clip)
    (spoilt_clip / "pytorch_model.bin").write_bytes(
        pickle.dumps(Intruder(str(tmp_path / "was_here")))
    )
    with pytest.raises(ModelError):
        load_clip(spoilt_clip)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
def test_torchscript_in_a_folder_is_refused_without_bad_advice(spoilt_clip):
    (spoilt_clip / "open_clip_model.safetensors").unlink()
    torch.jit.script(Script()).save(str(spoilt_clip / "pytorch_model.bin"))
    with pytest.raises(ModelError, match="spoilt .*could run code") as error:
        load_clip(spoilt_clip)
    assert "weights_only" not in str(error.value)


def test_safetensors_are_preferred_to_pickles(spoilt_clip):
    (spoilt_clip / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    assert load_clip(spoilt_clip, device="cpu").embed_texts(["a cube"]).shape == (1, 24)


def test_an_unknown_name_gets_close_ones():
    with pytest.raises(ModelError, match="unknown CLIP 'ViT-L14-336'.*'ViT-L-14-336'"):
        load_clip("ViT-L14-336")
    with pytest.raises(ModelError, match="did you mean 'mini'"):
        load_clip("mni")


@pytest.mark.parametrize(
    ("name", "leads_to"),
    [
        ("openai/clip-vit-large-patch14-336", "load_clip('ViT-L-14-336')"),
        ("openai/clip-vit-base-patch32", "load_clip('ViT-B-32')"),
        ("clip-vit-large-patch14", "load_clip('ViT-L-14')"),
        ("hf-hub:openai/clip-vit-base-patch16", "load_clip('ViT-B-16')"),
        ("ViT-L/14@336px", "load_clip('ViT-L-14-336')"),
        (
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            "load_clip('ViT-B-32', pretrained='laion2b_s34b_b79k')",
        ),
        ("llava-hf/llava-1.5-7b-hf", "load_mllm('llava-hf/llava-1.5-7b-hf')"),
    ],
)
def test_names_from_elsewhere_lead_to_the_ones_here(name, leads_to):
    with pytest.raises(ModelError, match="unknown CLIP") as error:
        load_clip(name)
    assert leads_to in str(error.value)


@pytest.mark.parametrize("name", [None, 3, b"mini", "", " ", ["mini"]])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ModelError, match="unknown model: .* is not a name"):
        load_clip(name)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "~nobody/x", "./" + "y" * 300])
def test_names_that_no_file_system_takes_are_refused(name):
    with pytest.raises(ModelError):
        load_clip(name)


def test_an_unknown_tag_gets_the_list():
    with pytest.raises(ModelError, match="'ViT-B-32' has no weights 'open_ai'; .*openai.*laion2b"):
        load_clip("ViT-B-32", pretrained="open_ai")


def test_an_architecture_without_published_weights_never_gives_random_ones():
    name = next(
        name
        for name in open_clip.list_models()
        if not open_clip.list_pretrained_tags_by_model(name)
    )
    with pytest.raises(ModelError, match="no weights are published.*pretrained=False"):
        load_clip(name)


def test_without_a_network_it_says_what_to_do(no_network):
    with pytest.raises(ModelError) as caught:
        load_clip("ViT-L-14-336")
    message = str(caught.value)
    assert "HF_HOME" in message
    assert "hf download timm/vit_large_patch14_clip_336.openai --local-dir" in message
    assert "load_clip('mini')" in message


@pytest.mark.parametrize(
    ("name", "pretrained", "label", "quick"),
    [
        ("ViT-L-14-336", None, "ViT-L-14-336:openai", True),
        ("ViT-L/14-336", None, "ViT-L-14-336:openai", True),
        ("ViT-L-14-336-quickgelu", None, "ViT-L-14-336-quickgelu:openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", "ViT-B-32:laion2b_s34b_b79k", False),
        ("ViT-H-14", None, "ViT-H-14:laion2b_s32b_b79k", False),
    ],
)
def test_default_weights_and_the_activation_they_were_trained_with(name, pretrained, label, quick):
    source = clip_weights.find_clip(name, pretrained)
    assert source.label == label
    assert source.options["force_quick_gelu"] == quick


def test_a_damaged_download_is_said_to_be_one(monkeypatch, no_network, tmp_path):
    broken = tmp_path / "open_clip_model.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0 cut short")
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_, **__: str(broken))
    with pytest.raises(
        ModelError,
        match=r"(?s)ViT-B-32 cannot be read: its weights are damaged.*downloads are kept in",
    ):
        load_clip("ViT-B-32")
