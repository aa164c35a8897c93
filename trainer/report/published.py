"""The paper's own figures: "Self-supervised learning of motion-informed latents", real Objectron and real UCF101."""

from __future__ import annotations

# Table 1: 3D mAP at IoU 0.5.
CATEGORIES = ("bike", "book", "bottle", "camera", "cereal_box", "chair", "cup", "laptop", "shoe")
TABLE1: dict[str, tuple[float, ...]] = {
    "Random fit": (0.06, 0.04, 0.04, 0.07, 0.02, 0.10, 0.09, 0.07, 0.05, 0.06),
    "Random in-category fit": (0.15, 0.23, 0.26, 0.26, 0.13, 0.46, 0.43, 0.26, 0.11, 0.25),
    "Objectron Baseline (1-stage)": (0.34, 0.18, 0.54, 0.47, 0.55, 0.71, 0.37, 0.55, 0.42, 0.57),
    "Objectron Baseline (2-stage)": (0.61, 0.52, 0.57, 0.80, 0.62, 0.85, 0.54, 0.67, 0.66, 0.65),
    "ImageNet embeddings": (0.46, 0.45, 0.55, 0.74, 0.51, 0.77, 0.72, 0.66, 0.49, 0.59),
    "Our embeddings": (0.65, 0.54, 0.60, 0.82, 0.68, 0.78, 0.72, 0.73, 0.66, 0.69),
    "Our embed. (10% of labels)": (0.48, 0.46, 0.54, 0.73, 0.48, 0.70, 0.65, 0.66, 0.57, 0.58),
    "Our embed. (1% of labels)": (0.23, 0.32, 0.47, 0.46, 0.39, 0.61, 0.55, 0.46, 0.30, 0.47),
}
# Table 2: classification accuracy, 3D mAP, re-identification mAP.
TABLE2: dict[str, tuple[float, float, float]] = {
    "Nearby frame pairs": (0.9570, 0.69, 0.53),
    "Distant frame pairs": (0.9484, 0.58, 0.85),
    "Same frame pairs": (0.9119, 0.65, 0.26),
    "NT-Xent": (0.9636, 0.64, 0.63),
    "TCN": (0.7820, 0.59, 0.19),
    "ImageNet embeddings": (0.9606, 0.59, 0.73),
    "Random embeddings": (0.3049, 0.17, 0.03),
}
# Tables 3 and 4: UCF101, recall at 1, 5, 10 and 20.
TABLE3: dict[str, tuple[float, float, float, float]] = {
    "VCOP": (0.107, 0.259, 0.354, 0.473),
    "VCP": (0.199, 0.337, 0.420, 0.505),
    "Pace Pred": (0.256, 0.427, 0.513, 0.613),
    "CoCLR-2Stream": (0.559, 0.708, 0.769, 0.825),
    "Nearby frame pairs": (0.414, 0.573, 0.621, 0.662),
    "Single frame": (0.416, 0.571, 0.617, 0.652),
}
TABLE4: dict[str, tuple[float, float, float, float]] = {
    "Nearby frame pairs": (0.414, 0.573, 0.621, 0.662),
    "Distant frame pairs": (0.426, 0.549, 0.588, 0.612),
    "Single frame": (0.416, 0.571, 0.617, 0.652),
    "Random embeddings": (0.181, 0.328, 0.411, 0.501),
    "ImageNet embeddings": (0.668, 0.855, 0.901, 0.932),
}
# Table 5: classification accuracy, re-identification mAP, 3D mAP; by our names of the rows.
TABLE5: dict[str, tuple[float, float, float]] = {
    "same-px": (0.442, 0.02, 0.29),
    "same-ulc": (0.831, 0.24, 0.59),
    "same-lc": (0.912, 0.26, 0.65),
    "same-full": (0.968, 0.59, 0.67),
    "nearby-px": (0.266, 0.00, 0.19),
    "nearby-ulc": (0.938, 0.55, 0.65),
    "nearby-lc": (0.957, 0.53, 0.69),
    "nearby-full": (0.945, 0.71, 0.66),
    "distant-px": (0.259, 0.00, 0.18),
    "distant-ulc": (0.938, 0.22, 0.58),
    "distant-lc": (0.914, 0.82, 0.60),
    "distant-full": (0.948, 0.85, 0.58),
}
