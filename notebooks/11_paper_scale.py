# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The whole study fits on one GPU
#
# **The paper's tables take one GPU of 15 GB or more and minutes to hours. That's computed and checked on a single card; the published weights we haven't run.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/11_paper_scale.ipynb)

# %% tags=["remove-cell"]
# @title Setup: on Colab, install what is missing { display-mode: "form" }
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    # Colab's own stay: they fit its GPU, and are in use already.
    kept = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")]
    Path("constraints.txt").write_text("\n".join(kept))
    package = "erragree-utils[gpu,mmvp] @ git+https://github.com/erroneous-agreements/erroneous-agreements@main"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    done = subprocess.run([*pip, package], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stderr[-2000:]}\npip could not install the package, see above. "
            f"If it names one of {', '.join(kept)}: choose the latest version under "
            "Runtime > Change runtime type. Else run this cell again."
        )

# %% [markdown]
# **You will** run the study with the published models on the published benchmarks, or plan to: the commands, what they need, and how to read what they leave behind.
#
# **You will learn** how much memory and time LLaVA-1.5-7B takes and why, what a run stores and how it goes on after a kill, and which of the paper's numbers stand beside which of ours.
#
# **You need** for the page as it stands: two CPU cores and about half a minute. For the real run: a GPU of 15 GB or more and a network; the table below says how long it takes.
#
# ```{admonition} What is measured here, and what is computed
# :class: caution
# We measured speed and memory on one H100, with LLaVA-1.5-7B's *architecture* and random weights, on stand-ins as large as the published benchmarks. Memory and time on this page are *computed*, by formulas that you can see and that we corrected by that one GPU; nobody has checked them for the others. We haven't run the published weights, so the tables of paper scale hold results only if you've made some. Cells without results say "not run".
# ```
#
# ## The weights decide whether it fits
#
# First of all: does it fit? Four things take up a GPU's memory. There are the *weights*. There's the *cache*: the keys and values of every token of every image in the batch, which we keep so that several captions can share one image. There are the *activations*, the intermediate results of a forward pass. And there's a *fixed* part for CUDA and its libraries.
#
# The first two follow from the architecture alone, so we can compute them without a GPU or a download: we build the model from its config on PyTorch's "meta" device, where tensors have shapes but no content. Nearly all of the parameters are the language model's:

# %% tags=["hide-input"]
import pandas as pd

from erragree_utils import start
from erragree_utils.models import memory
from erragree_utils.study import auto_scale, costs, hardware

scale = start()
config = costs.llava_15_7b()
size = memory.model_size(config)
parts = {
    "tower": "vision tower", "projector": "projector", "decoder": "language model's layers",
    "head": "output layer", "rest": "everything else",
}  # fmt: skip
print(f"{size.total / 1e9:.2f} billion parameters,", end=" ")
print(f"in float16 {2 * size.total / 1e9:.1f} GB")
print(f"cache: {memory.cache_bytes(config) / 2**20:.2f} MiB a token")
millions = {name: getattr(size, part) / 1e6 for part, name in parts.items()}
pd.Series(millions).map("{:.0f}".format).to_frame("millions of parameters")

# %% [markdown]
# An image is 576 tokens, so its cache alone takes 288 MiB. Two numbers decide: how many bytes a weight takes, and how many images we read at a time. At 4 bits (in the NF4 format {cite:p}`dettmers2023qlora`), each of the language model's weights takes half a byte, plus a scale of four bytes for each block of 64. The vision tower, the projector, the embeddings and the output layer stay in 16 bits. After all, it's the point of this book that LLaVA reads *the very same encoder* as CLIP.
#
# ```{admonition} Predict before you go on
# :class: predict
# A free Colab T4 has 16 GB. Does LLaVA-1.5-7B fit in float16? With how many images at a time?
# ```
#
# Here's the memory that it takes, in GiB. The last column also counts the fixed part:

# %%
GIB = 2**30
needs = {
    f"{precision}, {n} at a time": memory.memory_need(config, precision, n) / GIB
    for precision in ("float16", "4bit")
    for n in (1, 8, 32)
}
needs = pd.DataFrame(needs).T.rename_axis("precision, images")
needs.drop(columns="fixed").round(1)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Stacked bars of estimated memory in GiB for float16 and for 4 bits with 1, 8 and 32 images at a time: weights, cache, activations and a fixed part. Dashed lines show the memory of a T4, an L4 and an A100. In float16 the weights alone nearly fill the T4, at 4 bits they take a third of it, and with 32 images the cache is the largest part at 4 bits."}, "figure": {"caption": "In float16 the weights alone nearly fill a T4; in 4 bits they leave room for a batch of images."}}
import matplotlib.pyplot as plt

from erragree_utils import plots

limits = {gpu.name: gpu.memory / GIB for gpu in hardware.GPUS[:3]}
plots.memory_bars(needs.drop(columns="needed"), limits)
plt.show()

# %% [markdown]
# In float16 the weights alone nearly fill a T4. According to the formula, one or two images might still squeeze in, but that leaves no room for CLIP. At 4 bits there's room for sixteen.
#
# ## Nearly all the time goes into reading
#
# Reading the prompt takes arithmetic: each parameter of a linear layer costs one multiplication and one addition per token, and attention adds four operations for each pair of tokens and each dimension of the width. Writing a token takes memory traffic: the GPU reads all weights from memory once, for the whole batch. Almost all of this study is reading. Here's how much of it each benchmark takes. (An image that contrastive decoding reads in two streams takes two passes, and so does one that's shown in two places of a prompt.)

# %% tags=["hide-input"]
image, text = costs.image_flops(config), costs.text_flops(config, 576 + 120)
work = hardware.study_images()
passes = work["passes"].sum()
print(f"one image: {image / 1e12:.2f} TFLOP in the tower,", end=" ")
print(f"{text / 1e12:.2f} in the language model with 120 tokens of text")
total = passes * (image + text)
print(f"the whole study: {passes:,} such passes at most, {total / 1e15:.0f} PFLOP")
of_each = work.groupby("benchmark", sort=False).agg(
    {"method": "size", "images": "sum", "passes": "sum"}
)
of_each.set_axis(["ways of reading", "images read", "passes"], axis=1)

# %% [markdown]
# A GPU's datasheet says how fast it computes. We use the rate of *dense* 16-bit matrix products, since no weight here is sparse (some datasheets print the rate with sparsity, which is twice as high). No program reaches that rate. How close does ours come? On one H100, an earlier version of the study with 11,538 passes, including the decoding of the photographs, took 10 to 12 minutes; by the formula that's a sixth to a fifth of the published rate. (Option scoring alone, in batches of 32, ran at 289 to 325 TFLOP/s. That's 0.29 to 0.33 of the published rate, and 0.38 to 0.42 of the 767 TFLOP/s that plain matrix products reached there.) For the other GPUs we assume the same share:

# %% tags=["hide-input"]
gpus = pd.DataFrame([vars(gpu) for gpu in hardware.GPUS]).set_index("name")
published = pd.DataFrame({
    "memory, GB": (gpus["memory"] / 1e9).round().astype(int),
    "TFLOP/s": (gpus["rate"] / 1e12).round().astype(int),
    "GB/s": (gpus["bandwidth"] / 1e9).round().astype(int),
    "bfloat16": gpus["has_bf16"].map({True: "yes", False: "no"}),
})  # fmt: skip
print("\n".join(f"{name}: NVIDIA's {source}" for name, source in gpus["source"].items()))
published.rename_axis("GPU")

# %% [markdown]
# Here are the computed memory with eight images at a time, and the computed time for all passes. The precision is what `load_mllm` chooses by default on such a GPU: 16 bits if the weights fit with room to work, otherwise 4.

# %%
table = hardware.requirements(config)
hardware.readable(table).drop(columns=["memory, GiB", "fits"])

# %% [markdown]
# And every other combination: choose in how many bits the language model's weights are held and how many images are read at a time. A bar is the GPU's own memory, and what's in it.

# %% mystnb={"figure": {"caption": "By the formula, the bits of a weight decide whether LLaVA-1.5-7B fits; a larger batch takes memory and saves little time."}}
from erragree_utils.plots import live

live.calculator(hardware.choices(config))

# %% [markdown]
# By the formula a larger batch takes memory and saves little time, since reading an image is the same arithmetic whatever stands beside it. What decides is whether the weights fit. Don't take the left end of the slider for a promise, though: the formula has a GPU be as busy with one image as with many, and 4 bits compute as fast as 16, and neither is quite true.
#
# ## How to run it
#
# On your own machine, after `make install` in a clone or `pip install` of this repository:
#
# ```bash
# pip install accelerate bitsandbytes        # bitsandbytes: for 4 bits
# python -m erragree_utils download --scale paper
# python -m erragree_utils run --scale paper --out results
# python -m erragree_utils report results
# export ERRAGREE_RESULTS=$PWD/results       # where this page looks
# ```
#
# You can interrupt a run however you like; the same command continues it. You can also give `run` and `report` another folder: this page reads the folder that the environment variable `ERRAGREE_RESULTS` names. (Rebuild the book with `make clean` and `make book` afterwards, since it keeps executed pages.)
#
# **On Colab.** Choose a GPU under *Runtime > Change runtime type*, and run the first cell of any chapter. It installs this package and leaves Colab's PyTorch alone. Then `start()` looks at the GPU and picks the scale: paper if there is one (in 4 bits on a T4), mini if there isn't. `start("mini")` or `start("paper")` overrides its choice. To run the whole study, put `!` before the commands above. Colab deletes the machine's files when the session ends, so copy the folder `results` to your Drive now and then, and back again to continue. (We haven't tried whether a run can write straight into a mounted Drive.)
#
# ```{admonition} Downloads, and machines without a network
# :class: dropdown
# `download` is optional, since `run` fetches what it needs, but it tells you at once what it can't fetch. With `--by-hand` it fetches nothing. Instead, it prints a line for each file, with the file's address and the place where it belongs: download the files in a browser elsewhere, and copy them over. The chapters find such benchmarks on their own; for models, set the environment variables `ERRAGREE_CLIP`, `ERRAGREE_MLLM` and `ERRAGREE_VISION`. LLaVA's weights take 14 GB, CLIP's 1.7, those of the vision-only encoder (for chapter 6 alone) 1.2, and the photographs of COCO-spatial 0.8. `HF_HOME` says where models go, `ERRAGREE_CACHE` where benchmarks go.
# ```
#
# ````{admonition} More commands
# :class: dropdown
# | you want | command |
# |---|---|
# | to see what would run | `python -m erragree_utils list --scale paper --out results` |
# | a first look: 20 sets of each benchmark | `... run --scale paper --out results --limit 20` |
# | one table's worth | `... run --scale paper --out results --benchmark whatsup-a --method matching vqascore` |
# | your own copy of the images | `... run ... --option whatsup-a.folder=/data/whatsup` |
# | another setting of contrastive decoding, beyond those of the stored sweep: a pass of its own | `... run ... --method m3id --decoding m3id.t0=0 m3id.threshold=1` |
# | What'sUp A with two images exchanged that a report says are swapped | `... run ... --option whatsup-a.labels=swapped` |
# | 4 bits even where 16 would fit | `... run ... --quantization 4bit` |
# | a larger LLaVA | `... run ... --model mllm=llava-hf/llava-1.5-13b-hf` |
# | several GPUs, each with its share | `accelerate launch --multi_gpu -m erragree_utils run --scale paper --out results` |
# | several machines | the same on each, with part of the benchmarks; copy the files into one folder |
# ````

# %% [markdown]
# ## The paper's tables
#
# These are the tables of paper scale, read from the folder that the environment variable `ERRAGREE_RESULTS` names, or from `results` beside this notebook. Nothing runs here.

# %%
from erragree_utils import study
from erragree_utils.study import pages, report
from erragree_utils.study.kept import results_folder

place = results_folder()
found = study.read(place)
cells = report.cells(found, "paper")
count = cells.drop_duplicates(["table", "benchmark", "reader", "method"])["status"]
print(f"{place}: results of {len(found.items)} settings")
states = ", ".join(f"{n} {status}" for status, n in count.value_counts().items())
print(f"cells of the tables: {states}")

# %% [markdown]
# After each of the paper's numbers you see its source: [P] for the authors' or an official repository, [S] for second-hand notes that quote the paper, [S?] for such notes if they leave some doubt about the number. If a number is missing, we haven't found it. Each number appears beside the protocol that it belongs to: those of the first version beside *prompted-v1*, those of the third beside *vqascore-authors*, and CLIP's for MMVP beside rows where it reads the authors' statements. MMVP's own figure for LLaVA is for sampled answers, graded by GPT-4; ours beside it (*sampled*) are drawn with five seeds and strictly parsed.

# %% tags=["hide-input"]
from IPython.display import Markdown, display

for part in study.TABLES:
    mine = cells[cells["table"] == part.name]
    if part.relations == "apart":
        mine = mine[mine["relation"] == "all"]
    display(Markdown(f"**{part.title}**"))
    display(pages.shown(mine).set_index("benchmark"))
    if said := pages.remarks(mine):
        display(Markdown("\n".join(said)))

# %% [markdown]
# If there are results, here are the pictures, the comparisons of two models on the same images, and how long they took on which hardware:

# %% tags=["hide-input"] mystnb={"image": {"alt": "If there are results at paper scale: for each table of the paper, accuracies with 95% intervals beside the chance level, and open diamonds for the paper's numbers."}, "figure": {"caption": "The paper's tables as this code measures them, with the paper's own numbers as open diamonds."}}
_ = pages.figures(cells)
plt.show()
if found.items:
    compared = report.comparisons(found, "paper")
    if len(compared):
        display(pages.shown_comparisons(compared).set_index("benchmark"))
    else:
        print("nothing to compare yet")
    columns = ["benchmark", "method", "precision", "hardware", "seconds"]
    display(report.provenance(found)[columns].set_index("benchmark"))
else:
    print("not run: no pictures, no comparisons")

# %% [markdown]
# ## What it means
#
# The real study is small: a few hours on the smallest GPU that holds the model, or a quarter of an hour on a large one, if other GPUs behave like our H100. Elsewhere it's slow because each image is read again for each caption. And it needs memory more than arithmetic, which makes precision the most important choice.
#
# ## What could be wrong
#
# - **The share of the datasheet's rate** is the weakest number here. We measured it on one H100, before the study had its draws and its sweep. A T4 throttles at its 70 watts, a slow disk or a slow image decoder can't keep a GPU busy, and small batches leave it idle. If your run takes longer than the table's upper end, the table is wrong. Please tell us, and include the output of `speed/paper_scale.py`.
# - **Memory that the formula doesn't know about.** We count only the largest few tensors among the activations, the fixed part is an assumption, and the allocator keeps more than it uses. That's why the loader asks for 2.5 GiB beyond the weights, and halves a batch that doesn't fit.
# - **4 bits aren't 16.** The language model's weights are rounded, so scores differ a little and a decision may flip. The two precisions have separate keys and separate rows. As far as we know, the paper used 16 bits.
# - **Counts of images.** The estimates use the published counts. If a file has more or fewer images, you'll hear about it when it's read.
# - **The mini run** shows what a report looks like. Its numbers say nothing about the real models.
#
# ## Exercises
#
# **1.** LLaVA-1.5-13B has 40 layers of width 5120, with 13,824 numbers inside and 40 heads. On which GPUs does it fit?
#
# ```{admonition} Solution
# :class: dropdown
#
#     from transformers import LlamaConfig
#
#     larger = costs.llava_15_7b()
#     larger.text_config = LlamaConfig(
#         hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
#         num_attention_heads=40, vocab_size=32064,
#     )
#     hardware.readable(hardware.requirements(larger))
#
# In float16 its weights take about 25 GiB, so you need an A100. At 4 bits it fits on a T4, with eight images at a time.
# ```
#
# ## In this chapter you learned
#
# - You can compute what LLaVA-1.5-7B needs from its architecture: 13 GiB of weights in 16 bits or 4.5 at 4 bits, and about a third of a GiB of cache for each image in the batch.
# - One command runs the paper's study, on one GPU or several. The same command continues after an interruption, scores nothing twice, and mixes nothing.
# - The report puts the paper's numbers beside yours, with their source, and shows which cells nobody has run.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`liu2024llava15`, {cite:t}`kamath2023whatsup`, {cite:t}`tong2024eyes`; full entries under [References](../book/references.md). GPUs: NVIDIA's datasheets of T4, L4, A100 and H100.

# %% [markdown]
# ## Going deeper
#
# ### How good is the formula?
#
# In the table of needs, only the GPU's own memory is a published number. On the H100, the memory formula came out 8 to 16% above the measured peak: 26.7 against 24.3 GiB with 32 images in half precision, and 8.4 against 7.3 with eight at 4 bits. Here's what it says if you force float16 on a T4:

# %%
forced = hardware.requirements(config, precision="float16")
hardware.readable(forced).loc[["T4"]].drop(columns=["precision", "the whole study"])

# %% [markdown]
# CLIP adds minutes, and loading and downloads take whatever your network needs. And this is the machine that executed this page:

# %%
print(auto_scale.describe(auto_scale.choose_scale()))

# %% [markdown]
# ### How a run copes
#
# The formula above and the free memory decide how many images are read at a time; if that's still too many, the batch is halved, once for each model.
#
# The chapters also store their scores as they go, in the folder `chapters` below the results, and use whatever a run has stored. If the connection breaks in the middle of a long cell, just run the cell again: you lose only one batch.
#
# `python speed/paper_scale.py` *measures* speed on your own GPU: images per second for embedding, scoring and writing at the full architectures with random weights, compared with the official way (one caption at a time); the rate of plain matrix products that the GPU reaches; and peak memory beside the formula's. Without a GPU, it measures a stand-in that's 400 times smaller but also reads 576 patch tokens. On one thread of a CPU, with four captions per image, option scoring ran 3.4 times as fast as the official way, with equal decisions, and at 0.72 of the rate of plain float32 matrix products. About a GPU, that tells you only that we don't read images twice.

# %% [markdown]
# ### What a run leaves behind
#
# Let's watch a small run, live, at mini scale: CLIP and LLaVA read twelve sets of tabletop A. First we stop it after six sets.

# %%
import tempfile
import warnings
from pathlib import Path

from erragree_utils import get_scale

mini = get_scale("mini")
out, options = Path(tempfile.mkdtemp()), {"tabletop-a": {"n_sets": 12, **mini.draw}}
tasks = study.plan(mini, ["tabletop-a"], methods=["matching", "vqascore"])
how = {"scale": "mini", "options": options, "batch_size": 8}
first = study.run(tasks, out, limit=6, **how)
print(f"{first.scored} sets scored, {first.scored // 2} by each method")

# %% [markdown]
# Each method has its results in a small SQLite database of its own, with a record and a checksum for each set. Such a file survives if you kill the run. It may not survive a failing disk, so let's damage it ourselves:

# %%
(file,) = out.glob("*_vqascore_*.sqlite")
damaged = bytearray(file.read_bytes())
damaged[damaged.index(b'"score"')] ^= 1
file.write_bytes(damaged)
print(f"one bit of {len(damaged):,} bytes turned, in {file.name.rsplit('_', 1)[0]}")

# %% [markdown]
# The next run reports the damage, keeps everything else, and continues:

# %%
with warnings.catch_warnings(record=True) as told:
    second = study.run(tasks, out, **how)
print(*(str(warning.message).removeprefix(f"{out}/") for warning in told), sep="\n")
print(f"{second.stored} sets were stored before, {second.scored} scored now")

# %% [markdown]
# It scored the damaged set again, and no others. Everything that affects a result (model and revision, a hash of the weights, precision, benchmark, prompt, decoding) goes into its key. If you change a setting, the key changes too, so new results never mix with old ones.

# %%
results = study.read(out)
about = report.provenance(results).set_index("key")
about[["method", "precision", "seconds"]]

# %% [markdown]
# The report has a row for each cell of the paper's tables, and we've run only one benchmark and two methods. Here are their rows and the next few, which say so. In each cell, our accuracy comes first, with its interval, and then the paper's number if there is one. At mini scale, the paper's numbers appear beside our counterpart of its benchmark; compare the pattern, not the values.

# %%
rows = report.cells(results, "mini")
two_way = rows[rows["table"] == "two-way"]
pages.shown(two_way.head(9).assign(settings="")).set_index("benchmark")  # all of twelve sets

# %% [markdown]
# Are the stored numbers the same that the chapters compute? Let's score the same items directly:

# %% tags=["hide-input"]
from erragree_utils import evaluate, load_benchmark, load_mllm

bench = load_benchmark("tabletop-a", **options["tabletop-a"])
mllm = load_mllm("mini")
image = ["pair_id", "image_index"]
direct = evaluate(mllm, bench, "vqascore").set_index(image)
names = {s["method"]["name"]: key for key, s in results.settings.items()}
stored = report.predictions(results, names["vqascore"]).set_index(image)
apart = (stored["score_own"] - direct["score_own"]).abs().max()
same = (stored["correct"] == direct["correct"].loc[stored.index]).mean()
print(f"{len(stored)} images: {same:.0%} of decisions equal,", end=" ")
print(f"P(Yes) apart by {apart:.0e}")

# %% [markdown]
# This could have come out differently, since a run and a chapter batch images and captions differently, and we interrupted this run in the middle:

# %% tags=["finding", "hide-input"]
from erragree_utils import findings
from erragree_utils.findings import finding

findings.show([
    finding(
        "Scores that a run stored are those that a chapter computes, image by image",
        apart, below=1e-3, unit="", seed=mini.seed,
    )
])  # fmt: skip

# %% [markdown]
# ### Two more exercises
#
# **2.** The official way reads image and prompt again for each of four captions; ours reads the shared part only once. According to the formula, how many times fewer operations is that, with 45 tokens before the captions differ and 12 from there on? And with two captions?
#
# ```{admonition} Solution
# :class: dropdown
#
#     def ratio(k, prefix=576 + 45, rest=12):
#         image = costs.image_flops(config)
#         theirs = k * (image + costs.text_flops(config, prefix + rest))
#         shared = costs.text_flops(config, prefix)
#         more = costs.text_flops(config, rest, before=prefix, predictions=rest)
#         return theirs / (image + shared + k * more)
#
#     ratio(4), ratio(2)
#
# 3.8 and 2.0: almost as many times fewer as there are captions. Batching keeps a GPU busy and helps on top of that, but you can't see it by counting operations.
# ```
#
# **3.** Run the first six sets of tabletop A with one seed and the rest with another, into one folder. What does the report show?
#
# ```{admonition} Solution
# :class: dropdown
# The seed is an option of the benchmark, so it's part of the key. You get two keys and two rows, each only partly run. The report never adds them up.
#
#     other = {"tabletop-a": {"n_sets": 12, "seed": 1}}
#     study.run(tasks, out, scale="mini", options=other, limit=6)
#     pages.shown(report.cells(study.read(out), "mini").query("table == 'two-way'"))
# ```
#
# ### What we can't reproduce
#
# We can't produce everything that the paper reports. Here's what's missing and why, with the published numbers that we can't compare with ours:

# %%
from erragree_utils.study.sections import disagreements_text, not_here_text

_, listed = not_here_text()
display(Markdown(listed))

# %% [markdown]
# And this is where our numbers and the paper's disagree, which is no reason to leave either out:

# %%
differing = disagreements_text(cells, "paper")
display(Markdown("\n\n".join(differing[1:]) or "Nothing was run, so nothing can disagree."))
