"""Table 2.1, Table 3.1 and Figure 1.1: what follows from definitions alone, without data or weights."""

from __future__ import annotations

import numpy as np

from prototxt import build, measure
from prototxt.measure import trace
from prototxt.momentum import weight_of_example
from tools.experiments.registry import Context, Result, Table, experiment
from tools.plots import pyplot

# Table 2.1: receptive field and stride of each layer's units
ALEXNET = {"conv1": (11, 4), "conv2": (51, 8), "conv3": (99, 16), "conv4": (131, 16), "conv5": (163, 16),
           "pool5": (195, 32)}
# Table 3.1: mean IU, forward ms (K40c), layers, parameters in millions, receptive field, stride
COARSE = {"fcn-alexnet": (8, 57, 355, 32), "fcn32s": (16, 134, 404, 32), "fcn-googlenet": (22, 6, 907, 32)}


@experiment("fig1.1", "Momentum and batch size: effective weights of examples", "1.1.2")
def momentum(context: Context) -> Result:
    """Momentum 0.9 with batches of 20 against 0.9^(1/20) with batches of one."""
    ages = np.arange(200)
    step, smooth = weight_of_example(ages, 0.9, 20), weight_of_example(ages, 0.9 ** (1 / 20), 1)
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 3.5))
    axes.step(ages, step, where="post", color="tab:blue", label="momentum 0.9, batch 20")
    axes.plot(ages, smooth, color="tab:green", label="momentum 0.9^(1/20), batch 1")
    axes.set_xlabel("examples ago")
    axes.set_ylabel("weight in the update")
    axes.legend()
    figure.tight_layout()
    figure.savefig(context.folder / "weights.png", dpi=110)
    plt.close(figure)
    # where the floor drops nothing both are equal, and it only ever makes weights larger
    meet = bool(np.allclose(step[::20], smooth[::20])) and bool((step >= smooth - 1e-12).all())
    return Result(
        pictures=[("weights.png", "weight of an example by its age, as Figure 1.1")],
        claims=[("p^(1/k) = p'^(1/k') makes the two procedures similar",
                 f"the curves meet every 20 examples: {meet}; largest difference "
                 f"{float((step - smooth).max()):.3f}, just before the next step", meet)],
        config={"momentum": [0.9, 0.9 ** (1 / 20)], "batch": [20, 1]},
    )


@experiment("table2.1", "Receptive fields and strides of AlexNet", "2")
def alexnet(context: Context) -> Result:
    """Of FCN-AlexNet without its padding of 100, which moves receptive fields but does not change them."""
    traces, _ = trace(build("fcn-alexnet", shape=(1, 3, 227, 227)))
    rows = {}
    for layer, (field, stride) in ALEXNET.items():
        at = traces[layer]
        rows[layer] = [(field, float(at.field)), (stride, float(at.stride))]
    wrong = [f"{layer}: rf {int(pair[0][1] or 0)}, stride {int(pair[1][1] or 0)}" for layer, pair in rows.items()
             if pair[0][0] != pair[0][1] or pair[1][0] != pair[1][1]]
    notes = [] if not wrong else ["Differs: " + "; ".join(wrong) + ". docs/errata.md says why."]
    return Result([Table("AlexNet (CaffeNet)", ["rf size", "stride"], rows, 0)], notes=notes,
                  config={"net": "prototxt/fcn-alexnet"})


@experiment("table3.1", "The convolutionalized classifiers: layers, parameters, receptive field, stride", "3.3.1")
def classifiers(context: Context) -> Result:
    """Computed from the deploy prototxts.  Mean IU and times: table3.1-training."""
    rows = {}
    for name, (layers, parameters, field, stride) in COARSE.items():
        found = measure(build(name))
        rows[name] = [(layers, found.conv_layers), (parameters, round(found.learned / 1e6)),
                      (field, found.receptive_field), (stride, found.stride)]
    pooled = measure(build("fcn-googlenet", average_pool=True)).receptive_field
    ours = rows["fcn-googlenet"][2][1]
    same = all(t == o for name, row in rows.items() for i, (t, o) in enumerate(row)
               if (name, i) != ("fcn-googlenet", 2))
    return Result(
        [Table("Table 3.1, architecture", ["conv. layers", "parameters (M)", "rf size", "max stride"], rows, 0)],
        claims=[("57M, 134M and 6M parameters; 8, 16 and 22 layers; stride 32", f"the same: {same}", same),
                ("FCN-GoogLeNet sees 907 pixels", f"{ours}; {pooled} with the final average pooling", ours == 907)],
        notes=["The text drops FCN-GoogLeNet's final average pooling, and the net here is that of the text; the 907 "
               "pixels of the table are those of the net that keeps it."],
        config={"nets": list(COARSE)},
    )
