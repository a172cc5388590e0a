"""Table 3.2: what skips, and fine-tuning of all layers, are worth."""

from __future__ import annotations

from tools.experiments.registry import Context, Need, Result, experiment
from tools.experiments.training import Row, hashes, relative, score_table, train
from tools.metrics import METRICS

THESIS: dict[str, Row | None] = {
    "fcn32s-fixed": (83.0, 59.7, 45.4, 72.0), "fcn32s": (89.1, 73.3, 59.4, 81.4), "fcn16s": (90.0, 75.7, 62.4, 83.0),
    "fcn8s": (90.3, 75.9, 62.7, 83.2),
}
SMALL = {"squeezenet-fcn16s-fixed": None, "squeezenet-fcn16s": None, "squeezenet-fcn8s": None,
         "squeezenet-fcn4s": None}
NEEDS = [Need("data", "seg11valid"), Need("weights", "VGG_ILSVRC_16_layers.caffemodel"), Need("gpu")]
SMALL_NEEDS = [Need("data", "camvid"), Need("weights", "squeezenet_v1.1.caffemodel")]


@experiment("table3.2", "Skip FCNs: fixed, 32s, 16s, 8s", "3.3.2", NEEDS,
            "SqueezeNet, whose last stride is 16: 16s-fixed, 16s, 8s and 4s on CamVid", SMALL_NEEDS)
def skips(context: Context) -> Result:
    """Its runs are those of Table 3.3 and of Figures 3.4 and 3.6 as well (refinement.py)."""
    thesis = SMALL if context.small else THESIS
    fixed, *steps = thesis
    fixed_plan, _, records = train(context, fixed)
    plan, folder, more = train(context, steps[-1])
    records |= more
    scores = {name: {m: 100 * records[name][m] for m in METRICS} for name in thesis}
    iu = {name: scores[name]["mean_iu"] for name in thesis}
    share = iu[fixed] / iu[steps[0]]
    gains = [iu[b] - iu[a] for a, b in zip(steps, steps[1:], strict=False)]
    gain_text = ", ".join(f"{b} {gain:+.1f}" for b, gain in zip(steps[1:], gains, strict=True))
    claims = [
        ("fine-tuning the output classifier alone gives only 70% of the full fine-tuning performance",
         f"{100 * share:.0f}%: {iu[fixed]:.1f} of {iu[steps[0]]:.1f} mean IU", share < 0.9),
        ("the first skip improves mean IU (by 3.0)", gain_text.split(", ")[0], gains[0] > 0),
        ("the second one is a minor additional improvement (0.3): diminishing returns", gain_text,
         0 < gains[1] < gains[0]),
        ("frequency weighted IU and pixel accuracy rise with them",
         ", ".join(f"{name} {scores[name]['fw_iu']:.1f} / {scores[name]['pixel_acc']:.1f}" for name in steps),
         all(scores[a][m] < scores[b][m] for a, b in zip(steps, steps[1:], strict=False)
             for m in ("fw_iu", "pixel_acc"))),
    ]
    return Result(
        [score_table(f"val of {plan.data.rpartition('/')[2]}, in percent", thesis, records)],
        [(relative(context, folder.pictures / "stages.png"), "as Figure 3.4: the strides beside each other, and truth"),
         (relative(context, folder.plot), "training loss, and mean IU on val")],
        claims,
        ["One run of one seed; repeated runs of such nets differ by about half a point of mean IU."],
        {"recipe": plan.recipe, "iterations": {**dict(fixed_plan.stages), **dict(plan.stages)}, "seed": plan.seed},
        hashes([fixed_plan, plan]),
    )
