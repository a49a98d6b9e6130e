"""CLIP through open_clip: folders in its format, its names, and what can go wrong."""

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
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast

from erragree_utils.models import EncodeError, ModelError, load_clip
from erragree_utils.models import clip as module

WORDS = [
    "<pad>", "<unk>", "<start>", "a", "red", "green", "cube", "ball", "left", "right", "of", "to",
    "the", "<end>",
]  # fmt: skip
CONTEXT = 8
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": len(WORDS),
        "width": 32,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "words",
    },
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def write_model(folder: Path, **changes) -> Path:
    """A small random CLIP in open_clip's format, weights in float16 as the mini CLIP ships."""
    config = {**CONFIG, **changes}
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.model.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"],
                                 quick_gelu=config.get("quick_gelu", False))  # fmt: skip
    weights = {name: value.half() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", WORDS.index("<start>")), ("<end>", WORDS.index("<end>"))],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small", quick_gelu=True)


@pytest.fixture
def spoilt(tmp_path) -> Path:
    """A copy to damage."""
    return write_model(tmp_path / "spoilt")


@pytest.fixture(scope="module")
def small(folder):
    return load_clip(folder, device="cpu")


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


def test_embeddings_are_float32_rows_of_unit_length(small):
    for rows in (small.embed_images(noise(3)), small.embed_texts(["a red cube", "a", "the ball"])):
        assert rows.dtype == np.float32
        assert rows.shape == (3, small.embed_dim) == (3, 24)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_embeddings_are_those_of_open_clip_itself(small, folder):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a red cube"])
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(noise(1)[0])[None], normalize=True)
        text = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(small.embed_images(noise(1)), image.numpy(), atol=1e-6)
    np.testing.assert_allclose(small.embed_texts(["a red cube"]), text.numpy(), atol=1e-6)


def test_the_batch_size_changes_nothing(small):
    images, texts = noise(5), ["a red cube", "a green ball", "the cube"]
    np.testing.assert_allclose(
        small.embed_images(images, batch_size=2), small.embed_images(images), atol=1e-6
    )
    np.testing.assert_allclose(
        small.embed_texts(texts, batch_size=1), small.embed_texts(texts), atol=1e-6
    )


def test_images_may_come_from_a_generator_and_in_any_size_and_mode(small):
    images = [noise(1, (90, 31))[0], noise(1, (7, 7))[0].convert("L")]
    assert small.embed_images(image for image in images).shape == (2, 24)
    assert small.embed_images([]).shape == (0, 24)


def test_float16_files_compute_in_float32(small, folder):
    assert load_file(folder / "open_clip_model.safetensors")["visual.proj"].dtype == torch.float16
    assert {parameter.dtype for parameter in small.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in small.model.parameters())
    assert not small.model.training


def test_half_precision_is_near_and_still_comes_out_as_float32(small, folder):
    coarse = load_clip(folder, device="cpu", dtype="bfloat16")
    exact, rough = small.embed_images(noise(4)), coarse.embed_images(noise(4))
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05
    assert np.isfinite(coarse.embed_texts(["a red cube"])).all()


def test_what_a_clip_says_of_itself(small, folder):
    assert small.name == "small"
    assert small.image_size == 32
    for part in ("small", str(folder), "32 px", "24-d", "float32", "cpu"):
        assert part in repr(small)


def huggingface_tower(small) -> CLIPVisionModel:
    """The same image tower as Transformers has it, which is what LLaVA is built on."""
    tower, width = small.model.visual, 32
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=3, num_attention_heads=2,
        image_size=32, patch_size=8, hidden_act="quick_gelu", projection_dim=24,
    )  # fmt: skip
    ours = tower.state_dict()
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm": "ln_pre",
        "post_layernorm": "ln_post",
        "self_attn.out_proj": "attn.out_proj",
        "encoder.layers": "transformer.resblocks",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    model = CLIPVisionModel(config).eval()
    state = {}
    for name, value in model.state_dict().items():
        key = name.removeprefix("vision_model.")
        if key.endswith("position_ids"):
            state[name] = value
            continue
        for theirs, mine in names.items():
            key = key.replace(theirs, mine)
        for part, letter in enumerate("qkv"):
            if f"self_attn.{letter}_proj" in key:
                key = key.replace(f"self_attn.{letter}_proj.", "attn.in_proj_")
                state[name] = ours[key].chunk(3)[part]
        state.setdefault(name, ours[key])
    model.load_state_dict(state)
    return model


def test_patch_tokens_are_what_llava_reads(small):
    tokens = small.patch_tokens(noise(2))
    assert (tokens.dtype, tokens.shape) == (np.float32, (2, 16, 32))
    pixels = torch.stack([small.preprocess(image) for image in noise(2)])
    with torch.no_grad():
        out = huggingface_tower(small)(pixels, output_hidden_states=True)
    expected = out.hidden_states[-2][:, 1:].numpy()
    np.testing.assert_allclose(tokens, expected, atol=1e-5)
    # Not the last block's by mistake.
    assert np.abs(tokens - out.hidden_states[-1][:, 1:].numpy()).max() > 0.01


def test_patches_go_row_by_row_from_the_top_left(small):
    image, changed = noise(1, (32, 32))[0], noise(1, (32, 32))[0]
    changed.paste((255, 255, 255), (24, 0, 32, 8))  # the fourth patch of the first row
    tokens = small.patch_tokens([image, changed])
    assert np.abs(tokens[0] - tokens[1]).sum(axis=1).argmax() == 3


def test_a_tower_without_patches_is_refused():
    convolutional = load_clip("RN50", pretrained=False, device="cpu")
    with pytest.raises(ModelError, match="no patch tokens to read.*ModifiedResNet"):
        convolutional.patch_tokens(noise(1))


def test_an_item_that_is_no_image_is_named(small):
    with pytest.raises(EncodeError, match="image 3 is a str, not a PIL image") as caught:
        small.embed_images([*noise(3), "cube.png"], batch_size=2)
    assert caught.value.index == 3


def damaged(path: Path) -> Image.Image:
    """A photograph that was not copied whole, opened but not yet read."""
    noise(1)[0].save(path)
    path.write_bytes(path.read_bytes()[:-400])
    return Image.open(path)


def test_a_damaged_image_in_memory_is_named(small, tmp_path):
    images = [*noise(2), damaged(tmp_path / "cut.jpg")]
    for read in (small.embed_images, small.patch_tokens):
        with pytest.raises(EncodeError, match="image 2 cannot be read .*truncated") as caught:
            read(images, batch_size=2)
        assert caught.value.index == 2


def test_one_image_where_a_list_belongs(small):
    for read in (small.embed_images, small.patch_tokens):
        with pytest.raises(TypeError, match=r"images is a list, not a single Image: wrap the"):
            read(noise(1)[0])


def test_images_are_read_as_a_viewer_shows_them(small):
    (plain,) = noise(1)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = plain.copy()
    turned.info["exif"] = exif.tobytes()
    sixteen = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    pairs = [(turned, plain.rotate(180)), (sixteen, plain.convert("L"))]
    for image, shown in pairs:
        np.testing.assert_array_equal(small.embed_images([image]), small.embed_images([shown]))


def test_an_item_that_is_no_text_is_named(small):
    with pytest.raises(EncodeError, match="text 1 is ''"):
        small.embed_texts(["a cube", ""])
    with pytest.raises(EncodeError, match="text 0 is None"):
        small.embed_texts([None])
    with pytest.raises(TypeError, match="wrap the single one"):
        small.embed_texts("a cube")


def test_a_text_that_is_cut_gives_a_warning(small):
    fits, cut = "a red cube left of the", "a red cube to the left of the ball"
    with pytest.warns(
        UserWarning, match="longer than the 8 tokens small reads, and cut: 1.*'a red c"
    ) as w:
        small.embed_texts([fits, cut])
    assert w[0].filename == __file__


def test_words_a_model_does_not_know_give_a_warning(small):
    with pytest.warns(UserWarning, match="words small does not know: 2, such as 'a red cat'"):
        embedded = small.embed_texts(["a red cube", "a red cat", "a red dog"])
    np.testing.assert_array_equal(embedded[1], embedded[2])


@pytest.mark.filterwarnings("error")
def test_a_text_that_fits_exactly_gives_none(small):
    text = "a red cube left of the"
    assert len(text.split()) + 2 == CONTEXT  # start and end
    small.embed_texts([text])


def test_damaged_weights_that_give_nan_are_noticed(spoilt):
    path = spoilt / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, path)
    with pytest.raises(EncodeError, match="embedding of image 0 is not finite"):
        load_clip(spoilt, device="cpu").embed_images(noise(2))


@pytest.mark.parametrize("keep", [0, 5, 1000, -10], ids=lambda keep: f"keep {keep} bytes")
def test_truncated_weights_are_refused(spoilt, keep):
    path = spoilt / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"spoilt are damaged.*fetch it again"):
        load_clip(spoilt)


def test_weights_of_another_architecture_are_refused(spoilt):
    config = json.loads((spoilt / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 48
    (spoilt / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="files of one model"):
        load_clip(spoilt)


def test_a_folder_without_weights_never_gives_random_ones(spoilt):
    (spoilt / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks open_clip_model\.safetensors"):
        load_clip(spoilt)


def test_a_folder_without_tokenizer_is_refused(spoilt, no_network):
    for path in spoilt.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="files of one model"):
        load_clip(spoilt)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ModelError, match="lacks open_clip_config.json and open_clip_model"):
        load_clip(tmp_path / "nowhere")


def test_a_folder_brings_its_own_weights(folder):
    with pytest.raises(ModelError, match="leave pretrained and looks out"):
        load_clip(folder, pretrained="openai")


@pytest.fixture
def tiny_vit_b_32(monkeypatch) -> str:
    """open_clip's ViT-B-32 by its name and tags, in a size that a test can hold."""
    small = {k: dict(v) if isinstance(v, dict) else v for k, v in CONFIG.items()}
    del small["text_cfg"]["hf_tokenizer_name"]
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
        monkeypatch.setattr(module, "get_pretrained_cfg", lambda _, t: tag if t == "openai" else {})
        clip = load_clip("ViT-B-32", pretrained=own_weights, device="cpu")
        assert looks(clip) == ("QuickGELU", (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))
        resize = clip.preprocess.transforms[0]
        assert resize.interpolation.value == "bilinear" and tuple(resize.size) == (32, 32)

    def test_a_tag_that_is_unknown_or_makes_no_sense_is_refused(self, own_weights, folder):
        with pytest.raises(ModelError, match="no weights 'mine' whose looks.*openai"):
            load_clip("ViT-B-32", pretrained=own_weights, looks="mine")
        with pytest.raises(ModelError, match="'openai' have looks of their own"):
            load_clip("ViT-B-32", pretrained="openai", looks="laion2b_s34b_b79k")
        with pytest.raises(ModelError, match="leave pretrained and looks out"):
            load_clip(folder, looks="openai")


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


def test_a_folder_that_lacks_mean_and_deviation_is_told_which_it_gets(spoilt):
    path = spoilt / "open_clip_config.json"
    config = json.loads(path.read_text())
    del config["preprocess_cfg"]["mean"]
    path.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"config\.json has no mean in preprocess_cfg: OpenAI's"):
        load_clip(spoilt)


@pytest.mark.parametrize(
    ("key", "value"), [("mean", [0.5, 0.5]), ("std", [1, 1, 0]), ("mean", "grey"), ("std", None)]
)
def test_a_preprocessing_that_cannot_be_is_named(spoilt, key, value):
    path = spoilt / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json: preprocess_cfg\.{key} needs three numb"):
        load_clip(spoilt)


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
    def trap(self, spoilt, tmp_path, monkeypatch) -> Path:
        """A folder with a tokenizer of its own, and a reader who says yes to everything."""
        mark = tmp_path / "was_here"
        (spoilt / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
        monkeypatch.setattr("builtins.input", lambda _: "y")
        yield spoilt
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
        module._read(named, {"pretrained": None}, {})
        assert asked == [{"trust_remote_code": False}]

    def test_settings_that_cannot_be_read_are_named(self, spoilt):
        (spoilt / "tokenizer_config.json").write_text("{" * 5)
        with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read as JSON"):
            load_clip(spoilt)
        (spoilt / "tokenizer_config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
        with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read as JSON"):
            load_clip(spoilt)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(spoilt, tmp_path):
    (spoilt / "open_clip_model.safetensors").unlink()
    torch.save({"weight": Intruder(str(tmp_path / "was_here"))}, spoilt / "pytorch_model.bin")
    with pytest.raises(ModelError, match="damaged"):
        load_clip(spoilt)
    (spoilt / "pytorch_model.bin").write_bytes(pickle.dumps(Intruder(str(tmp_path / "was_here"))))
    with pytest.raises(ModelError):
        load_clip(spoilt)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
def test_torchscript_in_a_folder_is_refused_without_bad_advice(spoilt):
    (spoilt / "open_clip_model.safetensors").unlink()
    torch.jit.script(Script()).save(str(spoilt / "pytorch_model.bin"))
    with pytest.raises(ModelError, match="spoilt .*could run code") as error:
        load_clip(spoilt)
    assert "weights_only" not in str(error.value)


def test_safetensors_are_preferred_to_pickles(spoilt, small):
    (spoilt / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    assert load_clip(spoilt, device="cpu").embed_texts(["a cube"]).shape == (1, 24)


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
    _, named, _, source = module._published(name, pretrained)
    assert named == label
    assert source["force_quick_gelu"] == quick


def test_a_damaged_download_is_said_to_be_one(monkeypatch, no_network, tmp_path):
    broken = tmp_path / "open_clip_model.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0 cut short")
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_, **__: str(broken))
    with pytest.raises(ModelError, match=r"(?s)ViT-B-32 are damaged.*downloads are kept in"):
        load_clip("ViT-B-32")


def test_the_papers_encoder_has_the_papers_sizes_and_preprocessing():
    clip = load_clip("ViT-L-14-336", pretrained=False, device="cpu")
    assert clip.name == "ViT-L-14-336:random"
    assert (clip.embed_dim, clip.image_size) == (768, 336)
    blocks = clip.model.visual.transformer.resblocks
    assert len(blocks) == 24
    assert isinstance(blocks[0].mlp.gelu, open_clip.transformer.QuickGELU)

    resize, crop, *_, normalise = clip.preprocess.transforms
    assert resize.interpolation.value == "bicubic"
    assert (resize.size, tuple(crop.size)) == (336, (336, 336))
    assert tuple(normalise.mean) == open_clip.OPENAI_DATASET_MEAN
    assert tuple(normalise.std) == open_clip.OPENAI_DATASET_STD

    images = noise(2, (500, 400))
    assert clip.embed_images(images[:1]).shape == (1, 768)
    assert clip.embed_texts(["a mug to the left of a plate"]).shape == (1, 768)
    # Three blocks of the real width are enough for what follows, and take an eighth of the time.
    clip.model.visual.transformer.resblocks = blocks[:3]
    together = clip.embed_images(images, batch_size=2)
    np.testing.assert_allclose(together, clip.embed_images(images, batch_size=1), atol=1e-5)
    assert clip.patch_tokens(images[:1]).shape == (1, 576, 1024)
