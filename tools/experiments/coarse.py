"""The rows of Table 3.1 that need training or a clock: mean IU and forward time of the three coarse nets."""

from __future__ import annotations

from google.protobuf import text_format

import caffe
from prototxt import build
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.experiments.training import hashes, train
from tools.experiments.voc_server import forward_time

# mean IU on VOC 2011 val, trained on its 1112 training images; forward ms for 500 x 500 pixels on a Tesla K40c
THESIS = {"fcn-alexnet": (39.8, 50.0), "fcn32s": (56.0, 210.0), "fcn-googlenet": (42.5, 59.0)}
ITERATIONS = 175 * 1112 // 20   # "at least 175 epochs" at 20 images a step
WEIGHTS = ("bvlc_reference_caffenet.caffemodel", "VGG_ILSVRC_16_layers.caffemodel", "bvlc_googlenet.caffemodel")


@experiment("table3.1-training", "The convolutionalized classifiers: mean IU and forward time", "3.3.1",
            [Need("data", "voc2011"), *(Need("weights", name) for name in WEIGHTS), Need("gpu")],
            "forward times only, on the CPU, of the nets without weights")
def coarse(context: Context) -> Result:
    """Trained on VOC 2011's own training images, without SBD's, as the table is."""
    rows, plans, times = {}, [], {}
    context.folder.mkdir(parents=True, exist_ok=True)
    for name, (mean_iu, milliseconds) in THESIS.items():
        found = None
        if not context.small:
            plan, _, records = train(context, name, data=context.data_name("voc2011"), iters=str(ITERATIONS))
            found = 100 * records[name]["mean_iu"]
            plans.append(plan)
        path = context.folder / f"{name}.prototxt"
        path.write_text(text_format.MessageToString(build(name)), encoding="utf-8")
        times[name] = 1000 * forward_time(caffe.Net(str(path), caffe.TEST), (500, 500), 3 if context.small else 20)
        rows[name] = [(mean_iu, found), (milliseconds, times[name])]
    claims = [("the VGG net takes longest: 210 ms to 50 and 59",
               ", ".join(f"{name} {value:.0f} ms" for name, value in times.items()),
               times["fcn32s"] == max(times.values()))]
    if plans:
        best = {name: row[0][1] or 0.0 for name, row in rows.items()}
        claims += [("even the worst reaches 75% of the state of the art (52.6 on test)",
                    f"{100 * min(best.values()) / 52.6:.0f}%", min(best.values()) / 52.6 > 0.7),
                   ("GoogLeNet does not match VGG", f"{best['fcn-googlenet']:.1f} and {best['fcn32s']:.1f}",
                    best["fcn-googlenet"] < best["fcn32s"])]
    return Result([Table("Table 3.1, results", ["mean IU", "forward (ms)"], rows)], claims=claims,
                  notes=["Times on another machine compare only by their order."],
                  config={"iterations": dict(plan.stages[0] for plan in plans), "seed": context.seed},
                  weights=hashes(plans))
