"""The table of 3.5: the best mean IU that predictions at a coarser stride can reach."""

from __future__ import annotations

from tools.bounds import coarsened, upper_bound
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import save_labels
from tools.plots import pyplot

FACTORS = {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}   # on a subset of VOC 2011 val


@experiment("bounds", "Upper bounds on mean IU by downsampling factor", "3.5", [Need("data", "seg11valid")],
            "on CamVid val", [Need("data", "camvid")])
def bounds(context: Context) -> Result:
    dataset = context.dataset("camvid" if context.small else "seg11valid")
    found = {factor: 100 * upper_bound(dataset, "val", factor).mean_iu for factor in FACTORS}
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    for factor, thesis in FACTORS.items():
        rows[str(factor)] = [(thesis, None), (None, found[factor])] if context.small else [(thesis, found[factor])]
    columns = ["VOC 2011", "CamVid"] if context.small else ["mean IU"]
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(6, 3.5))
    axes.plot(list(found), list(found.values()), "o-", label=dataset.name)
    axes.plot(list(FACTORS), list(FACTORS.values()), "s--", label="thesis, VOC 2011")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("downsampling factor")
    axes.set_ylabel("upper bound on mean IU (%)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(context.folder / "bounds.png", dpi=110)
    plt.close(figure)
    picture = dataset.ids("val")[0]
    label = dataset.label(picture)
    save_labels(context.folder / "labels.png", [[label, *(coarsened(label, f) for f in (8, 32, 128))]],
                ["labels", "factor 8", "32", "128"], dataset.palette)
    thirty_two = found[32]
    return Result(
        [Table(f"mean IU of the true labels, sampled down and up again ({dataset.name} val)", columns, rows)],
        [("bounds.png", "upper bound by factor"), ("labels.png", f"the labels of {picture} at coarser strides")],
        [("Pixel-perfect prediction is not necessary for a mean IU well above the state of the art",
          f"at a stride of 32 pixels {thirty_two:.1f} can be reached, at 8 pixels {found[8]:.1f}", thirty_two > 62.7)],
        ["CamVid has thin classes (poles, signs), so its bounds fall faster than VOC's."] if context.small else [],
        {"data": dataset.name, "split": "val", "images": len(dataset.ids("val"))},
    )
