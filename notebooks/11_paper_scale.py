# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Paper scale
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
# :class: warning
# We have measured speed and memory on one H100, with LLaVA-1.5-7B's *architecture* and random weights, on stand-ins of the benchmarks in their published numbers. Memory and time on this page are *computed*, by formulas that are shown and that this one GPU has corrected; for the other GPUs nobody has checked them. The published weights have not been run: the tables of paper scale at the end hold results only if you have made some. Cells without results say "not run".
# ```
#
# ## What takes memory
#
# The question before any other: does it fit? Four things take a GPU's memory. The *weights*. The *cache*, keys and values of every token of every image in the batch, kept so that several captions share one image. The *activations*, intermediate results of a forward pass. And a *fixed* part that CUDA and its libraries take.
#
# The first two follow from the architecture alone, so they can be computed without a GPU and without a download: the model is built from its config on PyTorch's "meta" device, where tensors have shapes and no content.

# %%
import pandas as pd

from erragree_utils import start
from erragree_utils.models import memory
from erragree_utils.study import auto_scale, costs, hardware

scale = start()
config = costs.llava_15_7b()
size = memory.model_size(config)
parts = ("tower", "projector", "decoder", "head", "rest")
print(f"{size.total / 1e9:.2f} billion parameters,", end=" ")
print(f"in float16 {2 * size.total / 1e9:.1f} GB")
print(f"cache: {memory.cache_bytes(config) / 2**20:.2f} MiB a token")
millions = {part: getattr(size, part) / 1e6 for part in parts}
pd.Series(millions, name="millions").round(1)

# %% [markdown]
# An image is 576 tokens, so its cache alone is 288 MiB. Two numbers decide: how many bytes a weight has, and how many images are read at a time. At 4 bits (the format NF4 {cite:p}`dettmers2023qlora`) a weight of the language model is held in half a byte, and each block of 64 has a scale of four bytes. The vision tower, the projector, the embeddings and the output layer stay in 16 bits: that LLaVA reads *the very encoder* that CLIP has is this book's point.
#
# ```{admonition} Before you go on
# :class: tip
# A free Colab T4 has 16 GB. Does LLaVA-1.5-7B fit in float16? With how many images at a time?
# ```

# %%
GIB = 2**30
needs = {
    f"{precision}, {n} at a time": memory.memory_need(config, precision, n) / GIB
    for precision in ("float16", "4bit")
    for n in (1, 8, 32)
}
needs = pd.DataFrame(needs).T
needs.round(1)

# %% mystnb={"image": {"alt": "Stacked bars of estimated memory in GiB for float16 and for 4 bits with 1, 8 and 32 images at a time: weights, cache, activations and a fixed part. Dashed lines show the memory of a T4, an L4 and an A100. In float16 the weights alone nearly fill the T4, at 4 bits they take a third of it, and with 32 images the cache is the largest part at 4 bits."}}
import matplotlib.pyplot as plt

from erragree_utils import plots

limits = {gpu.name: gpu.memory / GIB for gpu in hardware.GPUS[:3]}
plots.memory_bars(needs.drop(columns="needed"), limits)
plt.show()

# %% [markdown]
# In float16 the weights alone nearly fill a T4. One or two images may still squeeze in by the formula, with nothing left for CLIP beside it. At 4 bits there is room for sixteen.
#
# ## What takes time
#
# Reading the prompt is arithmetic: each parameter of a linear layer makes a multiplication and an addition with each token, and attention adds four operations for each pair of tokens and each number of the width. Writing a token is traffic: all weights are read from memory once, for the whole batch together. Almost all of this study is reading.

# %%
image, text = costs.image_flops(config), costs.text_flops(config, 576 + 120)
work = hardware.study_images()
passes = work["passes"].sum()
print(f"one image: {image / 1e12:.2f} TFLOP in the tower,", end=" ")
print(f"{text / 1e12:.2f} in the language model with 120 tokens of text")
total = passes * (image + text)
print(f"the whole study: {passes:,} such passes at most, {total / 1e15:.0f} PFLOP")
work.groupby("method", sort=False)[["images", "passes"]].sum()

# %% [markdown]
# How fast a GPU computes stands in its datasheet. We take the rate of *dense* 16-bit matrix products, as no weight here is sparse (for some GPUs datasheets print the rate with sparsity, twice as high). No program reaches it. How close ours comes was measured on one H100: the study of then, 11,538 passes with the decoding of the photographs, took 10 to 12 minutes, which by the formula is a sixth to a fifth of the published rate. (Option scoring alone, in batches of 32, ran at 289 to 325 TFLOP/s. That is 0.29 to 0.33 of the published rate, and 0.38 to 0.42 of the 767 TFLOP/s that plain matrix products reached there.) For the other GPUs we take the same share:

# %%
gpus = pd.DataFrame([vars(gpu) for gpu in hardware.GPUS]).set_index("name")
published = pd.DataFrame({
    "memory, GB": gpus["memory"] / 1e9,
    "TFLOP/s": gpus["rate"] / 1e12,
    "GB/s": gpus["bandwidth"] / 1e9,
    "bfloat16": gpus["has_bf16"],
})  # fmt: skip
print("\n".join(f"{name}: NVIDIA's {source}" for name, source in gpus["source"].items()))
published

# %% [markdown]
# Memory with eight images at a time, and time for all passes, computed. The precision is the one that `load_mllm` chooses on such a GPU by itself: 16 bits where the weights fit with room to work, else 4.

# %%
table = hardware.requirements(config)
hardware.readable(table).drop(columns=["memory, GiB", "fits"])

# %% [markdown]
# And every other combination: choose in how many bits the language model's weights are held and how many images are read at a time. A bar is the GPU's own memory, and what's in it.

# %%
from erragree_utils.plots import live

live.calculator(hardware.choices(config))

# %% [markdown]
# By the formula a larger batch takes memory and saves little time, since reading an image is the same arithmetic whatever stands beside it. What decides is whether the weights fit. Don't take the left end of the slider for a promise, though: the formula has a GPU be as busy with one image as with many, and 4 bits compute as fast as 16, and neither is quite true.
#
# Only the GPU's memory is published. On the H100 the formula for the memory lay 8 to 16% above the measured peak: 26.7 GiB and 24.3 with 32 images in half precision, 8.4 and 7.3 with eight at 4 bits. CLIP adds minutes, loading and downloads whatever your network takes. Forcing float16 on a T4:

# %%
forced = hardware.requirements(config, precision="float16")
hardware.readable(forced).loc[["T4"]].drop(columns="the whole study")

# %% [markdown]
# And the machine on which this page was executed:

# %%
print(auto_scale.describe(auto_scale.choose_scale()))

# %% [markdown]
# On a machine with a GPU, `python speed/paper_scale.py` *measures*: images per second for embedding, scoring and writing at the full architectures with random weights, beside the official way (one caption at a time), the rate of plain matrix products that this GPU reaches, and the memory at the peak beside the formula's. Without one it measures a stand-in 400 times smaller that reads 576 patch tokens too: on one thread of a CPU, four captions an image, option scoring ran 3.4 times as fast as the official way, with equal decisions, and at 0.72 of the rate of plain float32 matrix products. What that says of a GPU is only that the images are not read twice.
#
# ## How to run it
#
# On your own machine, in a clone with `make install` done, or after `pip install` of this repository:
#
# ```bash
# pip install accelerate bitsandbytes        # bitsandbytes: for 4 bits
# python -m erragree_utils download --scale paper
# python -m erragree_utils run --scale paper --out results
# python -m erragree_utils report results
# export ERRAGREE_RESULTS=$PWD/results       # where this page looks
# ```
#
# Give `run` and `report` another folder if you like, and this page the same one: it reads the folder that the environment variable `ERRAGREE_RESULTS` names (then build the book anew with `make clean` and `make book`, since executed pages are kept).
#
# `download` is optional, since `run` fetches what it needs; it tells at once what cannot be fetched. With `--by-hand` it fetches nothing and gives a line for each file, with its address and the place where it belongs, for a machine without a network: all you need is a browser elsewhere. The chapters find benchmarks saved so by themselves, and models by the environment variables `ERRAGREE_CLIP`, `ERRAGREE_MLLM` and `ERRAGREE_VISION`. The weights of LLaVA are 14 GB, of CLIP 1.7, of the vision-only encoder (for chapter 6 alone) 1.2, the photographs of COCO-spatial 0.8; models go where `HF_HOME` says, benchmarks where `ERRAGREE_CACHE` says.
#
# | you want | command |
# |---|---|
# | to know what would run | `python -m erragree_utils list --scale paper --out results` |
# | a first look: 20 sets of each benchmark | `... run --scale paper --out results --limit 20` |
# | one table's worth | `... run --scale paper --out results --benchmark whatsup-a --method matching vqascore` |
# | your own copy of the images | `... run ... --option whatsup-a.folder=/data/whatsup` |
# | another setting of contrastive decoding | `... run ... --method m3id --decoding m3id.t0=0 m3id.threshold=1` |
# | What'sUp A with two images exchanged that a report calls swapped | `... run ... --option whatsup-a.labels=swapped` |
# | 4 bits although 16 would fit | `... run ... --quantization 4bit` |
# | a larger LLaVA | `... run ... --model mllm=llava-hf/llava-1.5-13b-hf` |
# | several GPUs, each with its share | `accelerate launch --multi_gpu -m erragree_utils run --scale paper --out results` |
# | several machines | the same on each, with part of the benchmarks; copy the files into one folder |
#
# A run that was stopped, by whatever, goes on with the same command. How many images are read at a time follows from the memory that is free, by the formula above; if that is too many all the same, the batch is halved, once for each model.
#
# The chapters store their scores as they come, too, in the folder `chapters` below the results, and take what a run has stored. If the connection breaks in the middle of a long cell, run the cell again: it loses one batch.
#
# **On Colab.** Choose a GPU under *Runtime > Change runtime type*, and run the first cell of any chapter. It installs this package and leaves Colab's PyTorch alone. Then `start()` shows the GPU and chooses the scale: paper with a GPU, in 4 bits on a T4; mini without. `start("mini")` or `start("paper")` overrules it. For the whole study put `!` before the commands above. Colab deletes the machine's files when the session ends: copy the folder `results` to your Drive now and then, and back to go on. (Whether a run can write into a mounted Drive directly we have not tried.)
#
# ## What a run leaves behind
#
# A small one, live, at mini scale: twelve sets of tabletop A, read by CLIP and by LLaVA. First it is stopped after six sets.

# %%
import tempfile
import warnings
from pathlib import Path

from erragree_utils import get_scale, study
from erragree_utils.study import pages, report

mini = get_scale("mini")
out, options = Path(tempfile.mkdtemp()), {"tabletop-a": {"n_sets": 12, **mini.draw}}
tasks = study.plan(mini, ["tabletop-a"], methods=["matching", "vqascore"])
how = {"scale": "mini", "options": options, "batch_size": 8}
first = study.run(tasks, out, limit=6, **how)
print(f"{first.scored} sets scored, {first.scored // 2} by each method")

# %% [markdown]
# Each method's results lie in a small SQLite database of their own, a record for each set, with a checksum. A kill leaves such a file whole. A failing disk may not, so we damage one byte ourselves:

# %%
(file,) = out.glob("*_vqascore_*.sqlite")
damaged = bytearray(file.read_bytes())
damaged[damaged.index(b'"score"')] ^= 1
file.write_bytes(damaged)
print(f"one bit of {len(damaged):,} bytes turned, in {file.name.rsplit('_', 1)[0]}")

# %% [markdown]
# The next run says what it found damaged, keeps all else, and goes on:

# %%
with warnings.catch_warnings(record=True) as told:
    second = study.run(tasks, out, **how)
print(*(str(warning.message).removeprefix(f"{out}/") for warning in told), sep="\n")
print(f"{second.stored} sets were stored before, {second.scored} scored now")

# %% [markdown]
# The damaged set was scored again, the others were not. What decides a result (model and revision, a hash of the weights, precision, benchmark, prompt, decoding) is its key. A changed setting has another key, and never mixes with old results.

# %%
results = study.read(out)
about = report.provenance(results)
about[["key", "benchmark", "method", "precision", "seconds"]]

# %% [markdown]
# The report has a row for each cell of the paper's tables. Here only one benchmark and two methods have been run, and the others say so. At mini scale the paper's numbers stand beside the benchmark that ours mirrors, for comparison of kind.

# %%
rows = report.cells(results, "mini")
two_way = rows[rows["table"] == "two-way"]
columns = ["individual accuracy", "pair accuracy"]
pages.shown(two_way).set_index(["benchmark", "method", "relation"])[columns]

# %% mystnb={"image": {"alt": "Individual, pair and set accuracy of CLIP's matching and LLaVA's VQAScore on twelve sets of tabletop A, by relation and for all, with 95% intervals beside the chance level; open diamonds show the paper's numbers for What'sUp A."}}
_ = pages.figures(two_way)
plt.show()

# %% [markdown]
# Are the stored numbers those that the chapters compute? The same items, scored directly:

# %%
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
# ## The paper's tables
#
# Now the same for paper scale, from the folder that the environment variable `ERRAGREE_RESULTS` names, or `results` beside this notebook. Nothing is run here.

# %%
from erragree_utils.study.kept import results_folder

place = results_folder()
found = study.read(place)
cells = report.cells(found, "paper")
count = cells.drop_duplicates(["table", "benchmark", "reader", "method"])["status"]
print(f"{place}: results of {len(found.items)} settings")
print(f"cells of the tables: {count.value_counts().to_dict()}")

# %% [markdown]
# Behind the paper's numbers stands where they come from: [P] the authors' or an official repository, [S] second-hand notes that quote the paper, [S?] such notes that leave some doubt about the number. Where a number is missing, we have not found it. A number stands beside the protocol that it belongs to: those of the first version beside *prompted-v1*, those of the third beside *vqascore-authors*, and CLIP's for MMVP beside rows for which it read the authors' statements. MMVP's own figure for LLaVA is for answers that were sampled and graded by GPT-4; ours beside it (*sampled*) are drawn with five seeds, and strictly parsed.

# %%
from IPython.display import Markdown, display

for part in study.TABLES:
    mine = cells[cells["table"] == part.name]
    if part.relations == "apart":
        mine = mine[mine["relation"] == "all"]
    display(Markdown(f"**{part.title}**"))
    display(pages.shown(mine).drop(columns="model").set_index("benchmark"))

# %% [markdown]
# With results, the pictures, the comparisons of two readers on the same images, and how long they took on what:

# %% mystnb={"image": {"alt": "If there are results at paper scale: for each table of the paper, accuracies with 95% intervals beside the chance level, and open diamonds for the paper's numbers."}}
_ = pages.figures(cells)
plt.show()
if found.items:
    compared = report.comparisons(found, "paper")
    display(pages.shown_comparisons(compared) if len(compared) else "nothing to compare yet")
    columns = ["benchmark", "method", "precision", "hardware", "seconds"]
    display(report.provenance(found)[columns])
else:
    print("not run: no pictures, no comparisons")

# %% [markdown]
# Not everything that is published can be produced here. What cannot, and why, with the numbers that stand beside none of ours:

# %%
from erragree_utils.study.sections import disagreements_text, not_here_text

_, listed = not_here_text()
display(Markdown(listed))

# %% [markdown]
# And where ours and the paper's disagree, which is no reason to leave either out:

# %%
differing = disagreements_text(cells, "paper")
display(Markdown("\n\n".join(differing[1:]) or "Nothing was run, so nothing can disagree."))

# %% [markdown]
# One thing on this page could have come out otherwise, since a run and a chapter put images and captions together in different batches, and this run was cut in between:

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
# ## What it means
#
# The real study is small: a few hours on the smallest GPU that holds the model, a quarter of an hour on a large one, if what one H100 gave holds for others. What makes it slow elsewhere is reading each image again for each caption. And what it needs is not mainly arithmetic but memory, of which precision decides more than anything else.
#
# ## What could be wrong
#
# - **The share of the datasheet's rate** is the weakest number here: it comes from one H100, before the study had its draws and its sweep. A T4 throttles at its 70 watts, a slow disk or a slow image decoder feeds no GPU, and small batches leave it idle. If your run is slower than the table's upper end, it is the table that is wrong. Tell us, with what `speed/paper_scale.py` prints.
# - **Memory that the formula does not know.** Activations are counted by their largest few tensors; the fixed part is an assumption; the allocator keeps more than it uses. The loader asks for 2.5 GiB beyond the weights for this reason, and a batch that does not fit is halved.
# - **4 bits are not 16.** The language model's weights are rounded, so scores differ a little, and a decision may flip. Results of both precisions have keys of their own and rows of their own. The paper's numbers are, as far as we know, of 16 bits.
# - **The published counts** of images are taken for the estimates. A file with more or fewer would say so when it is read.
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
# In float16 its weights are about 25 GiB: an A100 is needed. At 4 bits it fits a T4, with eight images at a time.
# ```
#
# **2.** The official way reads image and prompt anew for each of four captions; ours reads what they share once. By the formula, how many times fewer operations is that, with 45 tokens before the captions differ and 12 from there on? And with two captions?
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
# 3.8 and 2.0: nearly as many times fewer as there are captions. Batching, which keeps a GPU busy, comes on top, and is no matter of counting operations.
# ```
#
# **3.** Run the first six sets of tabletop A with one seed and the rest with another, into one folder. What does the report show?
#
# ```{admonition} Solution
# :class: dropdown
# The seed is an option of the benchmark, so it is part of the key: two keys, and two rows, each run in part. They are never added up.
#
#     other = {"tabletop-a": {"n_sets": 12, "seed": 1}}
#     study.run(tasks, out, scale="mini", options=other, limit=6)
#     pages.shown(report.cells(study.read(out), "mini").query("table == 'two-way'"))
# ```
#
# ## In this chapter you learned
#
# - What LLaVA-1.5-7B needs can be computed from its architecture: 13 GiB of weights in 16 bits, 4.5 at 4, and about a third of a GiB of cache for each image in the batch.
# - One command runs the paper's study, on one GPU or several; the same command goes on after a stop, scores nothing twice, and mixes nothing.
# - The report sets the paper's numbers beside yours, with their source, and says which cells nobody has run.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`liu2024llava15`, {cite:t}`kamath2023whatsup`, {cite:t}`tong2024eyes`; full entries under [References](../book/references.md). GPUs: NVIDIA's datasheets of T4, L4, A100 and H100.
