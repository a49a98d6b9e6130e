# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Left and right get nearly the same vector
#
# **Let two things change sides, and CLIP's embedding of the image hardly moves: the cosine stays above 0.99. That alone doesn't say whether the difference is lost.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/01_cosine_agreement.ipynb)

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
# **You will** measure how alike CLIP's embeddings are for two images in which the same things have changed sides, and compare the number with those that tell you whether it's high.
#
# **You will learn** what an *erroneous agreement* is, why a raw cosine has to be compared with something, and why it does not decide, even then, whether captions can be matched.
#
# **You need** to know what a vector is. To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about half a minute. At paper scale: a network for CLIP's weights and What'sUp's photographs, and minutes.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 2 GiB, 3 to 4 min; L4: 2 GiB, 1 min; A100 40 GB: 2 GiB, 1 to 2 min; H100 80 GB: 2 GiB, 1 min.
#
# ## The question
#
# A contrastive vision-language model such as CLIP {cite:p}`radford2021clip` turns an image into one vector, its embedding. To CLIP, two images are alike if the cosine of the angle between their embeddings is near 1. If two images that plainly differ get nearly the same embedding, anything that reads only the embedding seems bound to confuse them. Li, Koh and Du {cite:p}`li2024erroneous` call this an **erroneous agreement**, and many papers blame it for failures of visual reasoning.
#
# We begin where the agreement is strongest: with pairs of images where one object is to the left of another, or to its right. What'sUp {cite:p}`kamath2023whatsup` has photographs of such pairs in two subsets: A shows a small object and a piece of furniture, B shows two small objects. Our *tabletop* benchmarks copy that design with rendered scenes.

# %%
from erragree_utils import load_benchmark, load_clip, plots, start

scale = start()  # "mini"; start("paper") is the real thing
names = {"A": scale.whatsup_a, "B": scale.whatsup_b}
benches = {name: load_benchmark(source, **scale.draw) for name, source in names.items()}
print(*benches.values(), sep="\n")

# %% [markdown]
# The images come in sets of four. Within a set, the relation changes and the objects stay the same; in rendered scenes, so do the place, the light and the camera. Here's one set of A, then one of B:

# %% mystnb={"image": {"alt": "Four images of one set of benchmark A: a small object to the left of, to the right of, on and under the same piece of furniture."}, "figure": {"caption": "Four images, two things: within a set of A, only where they stand changes."}}
import matplotlib.pyplot as plt

large = load_benchmark(scale.whatsup_a, **scale.draw, **scale.pictures)
plots.show_set([pair for pair in large if pair.set_id == large[0].set_id])
plt.show()

# %% mystnb={"image": {"alt": "Four images of one set of benchmark B: one small object to the left of, to the right of, in front of and behind another."}, "figure": {"caption": "One set of B: now both things are small, and again only where they stand changes."}}
large = load_benchmark(scale.whatsup_b, **scale.draw, **scale.pictures)
plots.show_set([pair for pair in large if pair.set_id == large[0].set_id])
plt.show()

# %% [markdown]
# ```{admonition} Predict before you go on
# :class: predict
# Write down three numbers between 0 and 1. What cosine do you expect between the *left* and the *right* image of a set? Between two images from *different* sets, with other objects in another place? And between two pictures of the *same* scene, before and after somebody turns off the light?
# ```
#
# ## The cosine is above 0.99
#
# At mini scale, the model is a small CLIP that we trained from scratch on other scenes of the same world: other instances of the objects, other combinations, other seeds. It's an ordinary `open_clip` checkpoint {cite:p}`ilharco2021openclip`, and the same call that loads the large ones loads it too.

# %%
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
clip

# %% [markdown]
# Here's the mean cosine between the two images of each left/right pair, with a 95% bootstrap interval over pairs. The last row is what the paper reports:

# %%
import pandas as pd

from erragree_utils.measures.accuracy import in_digits, in_percent
from erragree_utils.measures.intervals import bootstrap_mean
from erragree_utils.paper import BENCHMARKS, GRADES, published
from erragree_utils.scoring.embeddings import image_embeddings, pair_cosines

embedded = {name: image_embeddings(clip, bench) for name, bench in benches.items()}
cosines = {name: pair_cosines(clip, bench, embedded[name]) for name, bench in benches.items()}
sides = {name: table.query("relation == 'left/right'")["cosine"] for name, table in cosines.items()}
means = {f"{clip.name}, {name}": bootstrap_mean(values) for name, values in sides.items()}
beside = in_digits(pd.DataFrame(means).T, {"mean": "mean cosine"}, digits=4)
beside["source"] = "measured here"
paper = published(kind="cosine")
source = f"{paper.version}: {GRADES[paper.grade]}"
beside.loc[f"{paper.reader}, {BENCHMARKS[paper.benchmark]}"] = paper.number, source
beside.rename_axis("left/right pairs")

# %% [markdown]
# That's above 0.99, just as the abstract of {cite:t}`li2024erroneous` says. It looks like blindness. But is 0.99 a lot? A number near 1 tells you something only when you know what other pairs get.
#
# ## Images of different pairs are much less alike
#
# First, how far do embeddings spread at all? The picture shows a section through the sphere of all directions, true to scale. Each thin line is one image or one caption, drawn at its angle to the average image or the average caption.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A half circle with two fans of lines from its centre, images and captions. The images keep close to the direction of their mean, the captions spread wider, and the two means are far apart."}, "figure": {"caption": "Images keep to a narrow cone, and captions lie elsewhere: part of any cosine comes from the model and says nothing about the two images."}}
import numpy as np

captions = sorted({text for pair in benches["A"] for text in pair.captions})
plots.cone_and_gap(np.concatenate(list(embedded["A"].values())), clip.embed_texts(captions))
plt.show()

# %% [markdown]
# You can see two things at once. Images keep to a narrow **cone**: any two of them, however different, have a high cosine. And images and captions point in different directions, with the {term}`modality gap <Modality gap>` between them {cite:p}`liang2022gap`. Large CLIPs are known for both. So part of any cosine between images is a habit of the model and says nothing about the two images.
#
# We can take that part out. The {term}`normalised agreement <Normalised agreement>` is (cosine − random) / (1 − random), where "random" is the mean cosine of images from *different* pairs: 0 is what any two images reach, and 1 means equal.

# %% [markdown]
# Choose any two of these images, and see where their cosine lies, compared with all left/right pairs and with 2000 pairs of images from different sets:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The two images of a left/right pair have a cosine near 1; images from different sets lie clearly lower."}}
from erragree_utils.plots import live
from erragree_utils.scoring.embeddings import random_pair_cosines

few = list(benches["A"])[:8]
chosen = clip.embed_images([image for pair in few for image in pair.images])
others = random_pair_cosines(clip, benches["A"], n=2000, embeddings=embedded["A"])["cosine"]
print(f"Images from different sets have a mean cosine of {others.mean():.3f}")
live.pick(
    chosen.reshape(len(few), 2, -1), few, {"left/right": sides["A"], "different sets": others}
)

# %% [markdown]
# ## Changing sides moves CLIP less than another light does
#
# Second, what do *other* changes do? Rendered scenes let us change one thing at a time, always starting from the *left* image of a set. A caption would mention some of these changes: another **colour**, or another **kind** of object. Others are mere noise, as between two snapshots: we turn and tilt the **camera** by one degree, **shift** both objects together by an eighth of the distance between them, or change the **light** from noon to night. (At paper scale, the photographs' own relations will have to do.) In the table, the changes at the top leave the images most alike:

# %% tags=["hide-input"]
from erragree_utils.benchmarks.tabletop import CHANGES, load_changes
from erragree_utils.scoring.ladder import ladder

pairs = {name: list(bench) for name, bench in benches.items()}
if scale.name == "mini":
    for name, source in names.items():
        for what in CHANGES:
            changed = load_changes(source, what, **scale.draw, n_sets=100 if what == "kind" else 40)
            pairs[name] += changed
            embedded[name] |= image_embeddings(clip, changed)
rungs = pd.concat({name: ladder(clip, pairs[name], embedded[name]) for name in pairs})
rungs = rungs.rename_axis(["benchmark", "change"])
counted = rungs[["n_pairs"]].set_axis(["pairs"], axis=1)
counted = counted.join(in_digits(rungs[["cosine"]], {"cosine": "mean cosine"}, digits=4))
counted.join(in_digits(rungs, {"agreement": "normalised agreement"}))

# %% mystnb={"image": {"alt": "Two panels with a row for each kind of change and a dot with an interval for each benchmark. Left, the raw cosine: all changes lie near 1, and images of different pairs lie not far below. Right, the normalised agreement, which spreads them out: at mini scale camera and shift on top, then left/right, then light, on/under, front/behind, kind and colour."}, "figure": {"caption": "At mini scale, changing sides moves the embedding less than turning off the light does, and the normalised agreement on the right is what makes that visible."}}
plots.change_ladder(rungs)
plt.show()

# %% [markdown]
# At mini scale, left and right are *within the noise*: exchanging the two sides changes the embedding less than turning off the light does, if more than nudging everything aside. That's an erroneous agreement in the strict sense: the images differ in what a caption would say, but the embeddings hardly differ at all.
#
# ## The cosine doesn't decide whether captions match
#
# So surely this CLIP can't match captions about left and right? Let's ask it: does each image of a pair have a higher cosine with its own caption than with the other image's? A pair counts if both do, so guessing gives a quarter. (The next chapter takes its time over this measure.)
#
# At mini scale, we ask two more CLIPs of the same architecture, trained on the same scenes: `mini-lost` and `mini-aligned`. They differ in how their training captions talked about places, and in a step after training that [What could be wrong](#what-could-be-wrong) describes. If the cosine decides, all points should fall on one curve: the more alike the images, the fewer are matched. Where do you expect the left/right pairs of the other two?

# %% tags=["hide-input"]
models = {clip.name: rungs}
if scale.name == "mini":
    for other in ("mini-lost", "mini-aligned"):  # left and right are enough here
        model = load_clip(other)
        sides_of = {name: bench.select("left/right") for name, bench in benches.items()}
        models[other] = pd.concat({name: ladder(model, some) for name, some in sides_of.items()})
models = pd.concat(models, names=["model", "benchmark", "change"])
left_right = models.xs("left/right", level="change")
told = {"cosine": "mean cosine", "agreement": "normalised agreement"}
in_digits(left_right, told).join(in_percent(left_right, {"pair_accuracy": "pair accuracy"}))

# %% mystnb={"image": {"alt": "Pair accuracy against mean cosine, a point for each kind of change, a colour for each model. At mini scale colour and kind lie at the top left, on/under and front/behind below them, and the left/right pairs of mini and mini-lost at the bottom right, below chance; but the left/right pairs of mini-aligned lie at the top right."}, "figure": {"caption": "At mini scale, accuracy falls with the cosine within one model, but it doesn't depend on the cosine alone: *mini-aligned* matches left/right pairs above 0.99 that *mini* and *mini-lost* can't."}}
plots.accuracy_against_cosine(models)
plt.show()

# %% [markdown]
# Within one model the points do fall: colour and kind are almost always matched, left and right least of all. It's tempting to stop here and call the cosine the cause. But look at the top right. The left/right pairs of `mini-aligned` are above 0.99 as well, more alike than the on/under pairs that `mini` gets wrong half of the time, and it still matches most of them.
#
# ```{admonition} Key idea
# :class: key-idea
# Two CLIPs, both above 0.99: one matches, the other doesn't. A cosine near 1 doesn't settle what a reader can tell apart.
# ```
#
# The cosine doesn't decide within a model either. Let's take only those pairs of A whose cosine lies between 0.985 and 0.995, and that differ in the kind of object or in where it is. Then we match again:

# %% tags=["hide-input"]
from IPython.display import display

if scale.name == "mini":
    a = pair_cosines(clip, pairs["A"], embedded["A"]).set_index("pair_id")["cosine"]
    differ = [pair for pair in pairs["A"] if pair.captions[0] != pair.captions[1]]
    alike = [p for p in differ if 0.985 < a[p.pair_id] < 0.995 and p.relation != "colour"]
    same_cosine = ladder(clip, alike, embedded["A"])
    counted = same_cosine[["n_pairs"]].set_axis(["pairs"], axis=1).rename_axis("change")
    cosine = in_digits(same_cosine, {"cosine": "mean cosine"})
    display(counted.join(cosine).join(in_percent(same_cosine, {"pair_accuracy": "pair accuracy"})))
else:
    print("At mini scale only: photographs have no pairs that differ in the kind of object alone.")

# %% [markdown]
# At mini scale, pairs with almost the same cosine fare very differently: `mini` nearly always matches another kind of object, matches on and under about half of the time, and left and right hardly ever. A small difference is no obstacle if the text asks for it.
#
# ## It stays so over a band of views
#
# One more comparison. Perhaps we got 0.99 by luck, from the right distance and camera angle. Here's the left/right cosine of `mini` over a range of views, beside that of a tower *with random weights*, as recorded by `python -m erragree_utils.training.organisms`.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels: the left/right cosine against the distance of the things, the steps of the camera and its angle. At all views the trained model stays above 0.99; the one with random weights lies above it, near 1."}, "figure": {"caption": "The left/right cosine stays above 0.99 in every view we tried, and a tower that has learned nothing agrees even more."}}
from erragree_utils.models import ASSETS

views = pd.read_csv(ASSETS / "organisms" / "views.csv").query("organism == 'hidden'")
views["benchmark"] = views["benchmark"].str[-1].str.upper()
labels = {
    "gap": "Between the things (scene units)",
    "distance": "Camera, steps back",
    "azimuth": "Camera, degrees to the side",
}
if scale.name == "mini":
    plots.view_bands(views, labels)
    plt.show()

# %% [markdown]
# At mini scale, the cosine stays above 0.99 in every view we tried. And the random tower, which has learned nothing and hidden nothing, agrees *more*. So a high cosine of left and right isn't something that training has to bring about. That's where a network of this kind starts, and training pulls apart what the captions ask for. (We then pushed `mini`'s cosine up again, see below.)
#
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding

claim, found = partial(finding, seed=scale.seed), []
for name, values in sides.items():
    paper, question = "", ""
    if name == "A":
        paper = published(kind="cosine")
        question = "How alike are the embeddings of images that differ only in left and right?"
    row = rungs.loc[name, "left/right"]
    found += [
        claim(
            f"Left/right pairs of {name} have a mean cosine above 0.99",
            estimate(bootstrap_mean(values), "mean"), above=0.99, unit="cosine", paper=paper,
            question=question,
        ),
        claim(
            f"On a scale from images of different pairs (0) to equal ones (1), left/right pairs "
            f"of {name} agree by more than 0.85",
            estimate(row, "agreement"), above=0.85, unit="",
        ),
    ]  # fmt: skip
if scale.name == "mini":
    for name in pairs:
        every = pair_cosines(clip, pairs[name], embedded[name])
        by_set = every.assign(set=every["pair_id"].str[:4])
        by_set = by_set.pivot(index="set", columns="relation", values="cosine")
        closer = bootstrap_mean((by_set["left/right"] - by_set["light"]).dropna())
        aligned = models.loc["mini-aligned", name, "left/right"]
        band = views[(views["benchmark"] == name) & (views["model"] == "trained")]
        lowest = band.loc[band["low"].idxmin()]
        found += [
            claim(
                f"Left/right pairs of {name} are more alike than the same scene in another light",
                estimate(closer, "mean"), above=0, unit="cosine",
            ),
            claim(
                f"In mini-aligned, too, left/right pairs of {name} have a mean cosine above 0.99",
                estimate(aligned, "cosine"), above=0.99, unit="cosine",
            ),
            claim(
                f"Mini-aligned matches most left/right pairs of {name}",
                estimate(aligned, "pair_accuracy"), above=0.9 if name == "A" else 0.5,
            ),
            finding(
                f"At every recorded view, left/right pairs of {name} have a cosine above 0.99",
                tuple(lowest[["cosine", "low", "high"]]), above=0.99, unit="cosine",
            ),
        ]  # fmt: skip
    few = estimate(rungs.loc["A", "left/right"], "pair_accuracy")
    found.append(claim("Mini matches fewer than a fifth of left/right pairs of A", few, below=0.2))
    for relation, bounds in {"kind": {"above": 0.7}, "left/right": {"below": 0.5}}.items():
        found.append(
            claim(
                f"Of pairs of A with cosines from 0.985 to 0.995 that differ in {relation}, mini "
                f"matches {'most' if relation == 'kind' else 'fewer than half'}",
                estimate(same_cosine.loc[relation], "pair_accuracy"), **bounds,
            )
        )  # fmt: skip
findings.show(found)

# %% [markdown]
# ## What it means
#
# The agreement is real. To this CLIP, exchanging left and right is a smaller change than another light. But we have to keep two claims apart:
#
# - *the cosine is above 0.99*: that's what we measured;
# - *the information is lost*: that's a conclusion, and the cosine alone doesn't support it.
#
# The cosine tells you how *long* the difference between two embeddings is. Whether a reader can use that difference depends on whether it points the same way from pair to pair, and on whether the reader looks there. `mini-aligned` shows that a short difference can be enough. Why do `mini` and `mini-lost` fail, and do they fail for the same reason? That's what the next four chapters are about.
#
# ## What could be wrong
#
# - **We made these models.** The mini CLIPs' high cosines are no discovery. Their image towers end in a layer that adds a large common part, which creates the cone. And after training `mini` and `mini-aligned`, we used a linear map to turn down the directions in which left and right differ. The model cards give the numbers before and after. These models show what a cosine *can* mean, not how often it does in the wild. For the published CLIP, we quote the paper's number.
# - **Rendered scenes aren't photographs.** In ours, only the positions change, and with them shadows and perspective. In What'sUp's photographs the framing changes a little too, which lowers the cosine if anything.
# - **The noise floor is a choice.** A larger turn of the camera would lie lower on the ladder. That's why we show three kinds of noise, and make the claim about one that anyone would call large: night instead of noon.
# - **The normalisation uses one number for the cone.** It ignores how images of different pairs spread around it; exercise 2 subtracts the mean from the vectors instead.
#
# ## Exercises
#
# **1.** Which kind of change in benchmark A affects the pixels most? Does it have the lowest cosine?
#
# ```{admonition} Solution
# :class: dropdown
# At mini scale it's the light, which changes every pixel, and yet its cosine is higher than that of on/under:
#
#     change = []
#     for pair in pairs["A"]:
#         first, second = (np.asarray(image, float) for image in pair.images)
#         change.append((pair.relation, np.abs(first - second).mean()))
#     pd.DataFrame(change, columns=["relation", "grey levels"]).groupby("relation").mean()
# ```
#
# **2.** Subtract the mean embedding of all images before you take the cosine. What happens to left/right pairs, and to random pairs?
#
# ```{admonition} Solution
# :class: dropdown
# Random pairs drop to about 0, because the mean was all they shared. Left/right pairs end up close to their normalised agreement.
#
#     from erragree_utils.measures.agreement import cosine
#
#     chosen = benches["A"].select("left/right")
#     x = np.stack([embedded["A"][pair.pair_id] for pair in chosen])
#     x = x - x.mean((0, 1))
#     cosine(x[:, 0], x[:, 1]).mean(), cosine(x[:, 0], np.roll(x[:, 1], 1, axis=0)).mean()
# ```
#
# **3.** What angle has a cosine of 0.99? What's the cosine of half that angle?
#
# ```{admonition} Solution
# :class: dropdown
# `np.degrees(np.arccos(0.99))` is 8.1 degrees; half of that has a cosine of 0.9975. The cosine is flat near 1, so it makes small angles look even smaller.
# ```
#
# ## In this chapter you learned
#
# - Under CLIP, left/right pairs have a mean cosine above 0.99, in the paper and at mini scale alike.
# - To interpret a cosine, compare it with others: those of different pairs, of mere noise, of other changes. Even then, left and right agree strikingly.
# - The cosine doesn't decide whether captions are matched. Of two CLIPs with cosines above 0.99, one matches and one doesn't.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`kamath2023whatsup`, {cite:t}`liang2022gap`, {cite:t}`radford2021clip`; full entries under [References](../book/references.md).
