# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cosine agreement
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/01_cosine_agreement.ipynb)

# %% tags=["remove-cell"]
# @title On Colab, install the helper package; elsewhere this cell does nothing { display-mode: "form" }
import sys

if "google.colab" in sys.modules:
    import subprocess

    package = "git+https://github.com/erroneous-agreements/erroneous-agreements@main"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# %% [markdown]
# The **cosine similarity** of two embeddings is
#
# $$ \cos(u, v) = \frac{u \cdot v}{\lVert u \rVert \lVert v \rVert}. $$

# %% mystnb={"image": {"alt": "The cosine falls from 1 to -1 as the angle grows from 0 to 180 degrees."}}
import matplotlib.pyplot as plt
import numpy as np

angles = np.linspace(0, 180, 181)
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(angles, np.cos(np.radians(angles)))
_ = axes.set(xlabel="angle (degrees)", ylabel="cosine similarity")

# %%
assert np.cos(np.radians(8)) > 0.99
