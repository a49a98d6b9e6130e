"""Figures of pairs and results; `widgets` has explorers for a running notebook."""

from .accuracy import accuracy_bars, grouped_dots
from .agreement import accuracy_against_cosine, change_ladder, cone_and_gap, view_bands
from .charts import causal_diagram, memory_bars, token_bars
from .embeddings import angle_arcs, cosine_scatter, sphere_plane
from .outcomes import joint_outcomes, predicted_gains, signal_against_cosine, signal_and_bias
from .phone import draw_for_the_page
from .pictures import (
    question_pairs,
    saliency_maps,
    show_images,
    show_pair,
    show_readers,
    show_set,
)
from .probes import layer_map, probe_bars, repair_curves, stage_curves, three_states
from .readers import who_reads_what

__all__ = [
    "accuracy_against_cosine",
    "accuracy_bars",
    "angle_arcs",
    "causal_diagram",
    "change_ladder",
    "cone_and_gap",
    "cosine_scatter",
    "grouped_dots",
    "joint_outcomes",
    "layer_map",
    "memory_bars",
    "predicted_gains",
    "probe_bars",
    "question_pairs",
    "repair_curves",
    "saliency_maps",
    "show_images",
    "show_pair",
    "show_readers",
    "show_set",
    "signal_against_cosine",
    "signal_and_bias",
    "sphere_plane",
    "stage_curves",
    "three_states",
    "token_bars",
    "view_bands",
    "who_reads_what",
]

draw_for_the_page()
