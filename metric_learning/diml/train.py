"""Metric learning with structural matching (DIML: Zhao et al., ICCV 2021).

Two images a and b are as similar as their cells are where optimal transport matches them: SS(a, b) = Σ T_rs ⟨a_r, b_s⟩,
with T the plan that moves the weights of a's cells to those of b's at the lowest cost, 1 − ⟨a_r, b_s⟩ a cell. A gallery
is ranked by cos + SS. The config says whether a network is trained by cosine and ranked so too (`…_global`), trained by
cosine and ranked by cos + SS (`…_plugin`), or trained by structural similarity too (`…_structural`).
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cub200/multisimilarity_structural.yaml")
