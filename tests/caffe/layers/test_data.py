"""Data: what it reads from a database, in which order, ahead of time, and the same after a resumed snapshot."""
import gc
import json
import threading
import time
import weakref

import numpy as np
import pytest

import caffe

pytestmark = pytest.mark.unit
lmdb = pytest.importorskip("lmdb")
IMAGES = np.random.default_rng(4).integers(0, 256, (7, 3, 6, 5), dtype=np.uint8)


def write(folder, arrays, first=0):
    """Records 0, 1, 2, ... whose labels are their numbers; an array that is bytes is taken as the whole value."""
    with lmdb.open(str(folder), map_size=1 << 24, sync=False) as env, env.begin(write=True) as transaction:
        for i, array in enumerate(arrays, first):
            value = array if isinstance(array, bytes) else caffe.io.array_to_datum(array, i).SerializeToString()
            transaction.put(b"%08d" % i, value)


@pytest.fixture
def db(tmp_path):
    write(tmp_path / "db", IMAGES)
    return tmp_path / "db"


def setting(db, data="batch_size: 3", transform="", tops='top: "d" top: "l"') -> str:
    return (f'type: "Data" {tops} transform_param {{ {transform} }} '
            f'data_param {{ source: "{db}" backend: LMDB {data} }}')


def labels(it, n):
    return [it.forward()[1].tolist() for _ in range(n)]


@pytest.mark.parametrize("ahead", ["", "prefetch: 0", "prefetch: 1"])
def test_batches_go_on_from_the_last_record_to_the_first(bench, db, ahead):
    it = bench(setting(db, f"batch_size: 3 {ahead}", "scale: 0.5"))
    assert [t.shape for t in it.top] == [(3, 3, 6, 5), (3,)]
    for want in ([0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4]):
        d, label = it.forward()
        assert label.tolist() == want
        np.testing.assert_array_equal(d, IMAGES[want] * np.float32(0.5))


def test_without_labels(bench, db):
    it = bench(setting(db, tops='top: "d"'))
    np.testing.assert_array_equal(it.forward()[0], IMAGES[:3])


def test_float_data(bench, tmp_path):
    write(tmp_path / "db", IMAGES / 256 - 1)
    np.testing.assert_array_equal(bench(setting(tmp_path / "db")).forward()[0], (IMAGES[:3] / 256 - 1).astype("f4"))


def test_batch_one_takes_the_size_of_each_image(bench, tmp_path):
    write(tmp_path / "db", [IMAGES[0], IMAGES[1, :, :4], IMAGES[2, :1]])
    it = bench(setting(tmp_path / "db", "batch_size: 1"))
    assert [it.forward()[0].shape[1:] for _ in range(4)] == [(3, 6, 5), (3, 4, 5), (1, 6, 5), (3, 6, 5)]
    with pytest.raises(caffe.DataError, match="differ in shape.*found"):
        bench(setting(tmp_path / "db")).forward()
    assert bench(setting(tmp_path / "db", "batch_size: 2", "crop_size: 4")).forward()[0].shape == (2, 3, 4, 4)


def test_training_crops_and_mirrors_differ_and_come_again_with_the_seed(bench, db):
    def run(seed):
        caffe.set_random_seed(seed)
        it = bench(setting(db, "batch_size: 7", "crop_size: 4 mirror: true"))
        return np.stack([it.forward()[0] for _ in range(3)])

    one, again, other = run(3), run(3), run(4)
    np.testing.assert_array_equal(one, again)
    assert (one[0] != one[1]).any() and (one[1] != one[2]).any() and (one != other).any()


@pytest.mark.parametrize("data", ["batch_size: 3", "batch_size: 3 rand_skip: 7"])
def test_it_goes_on_from_a_snapshot(bench, db, data):
    it = bench(setting(db, data, "crop_size: 4 mirror: true"))
    for _ in range(4):
        it.forward()
    saved = json.loads(json.dumps(it.layer.get_state()))
    want = [it.forward() for _ in range(3)]
    caffe.set_random_seed(99)
    other = bench(setting(db, data, "crop_size: 4 mirror: true"))
    other.forward()
    other.layer.set_state(saved)
    for d, label in want:
        got = other.forward()
        np.testing.assert_array_equal(got[0], d)
        np.testing.assert_array_equal(got[1], label)


def test_rand_skip_begins_anywhere_before_it(bench, db):
    first = set()
    for seed in range(40):
        caffe.set_random_seed(seed)
        first.add(bench(setting(db, "batch_size: 1 rand_skip: 4")).forward()[1].item())
    assert first == {0, 1, 2, 3}


def test_solvers_share_the_records_in_training(bench, db, monkeypatch):
    monkeypatch.setattr(caffe.state, "_solver_count", 3)
    monkeypatch.setattr(caffe.state, "_solver_rank", 1)
    assert labels(bench(setting(db)), 2) == [[1, 4, 0], [3, 6, 2]]
    assert labels(bench(setting(db), phase=caffe.TEST), 1) == [[0, 1, 2]]


NET = '''
layer {{ name: "data" {data} include {{ phase: TRAIN }} }}
layer {{ name: "data" {test} include {{ phase: TEST }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "d" top: "s" param {{ lr_mult: 0.001 }}
  inner_product_param {{ num_output: 7 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "s" top: "s" }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "l" top: "loss" }}
'''


def test_a_resumed_training_equals_an_unbroken_one(toy, db):
    crop = "scale: 0.01 crop_size: 4 mirror: true"
    net = NET.format(data=setting(db, "batch_size: 4 rand_skip: 5", crop), test=setting(db, "batch_size: 2", crop))
    path = toy("test_iter: 2 test_interval: 3", net)
    whole = caffe.get_solver(path)
    whole.step(5)
    whole.snapshot()
    whole.step(5)
    resumed = caffe.get_solver(path)
    resumed.restore("snap_iter_5.solverstate")
    resumed.step(5)
    for blob in ("d", "l", "loss"):
        np.testing.assert_array_equal(whole.net.blobs[blob].data, resumed.net.blobs[blob].data)
        np.testing.assert_array_equal(whole.test_nets[0].blobs[blob].data, resumed.test_nets[0].blobs[blob].data)
    np.testing.assert_array_equal(whole.net.params["ip"][0].data, resumed.net.params["ip"][0].data)


def test_what_is_wrong_with_a_record_comes_when_its_batch_is_asked_for(bench, tmp_path):
    write(tmp_path / "db", [*IMAGES[:4], b"\xff\xff", *IMAGES[5:]])
    it = bench(setting(tmp_path / "db", "batch_size: 2"))
    assert labels(it, 2) == [[0, 1], [2, 3]]
    for _ in range(2):   # asked again, it says so again
        with pytest.raises(caffe.DataError, match="no Datum") as e:
            it.forward()
        assert e.value.layer == "it" and e.value.help
    write(tmp_path / "short", [IMAGES[0], caffe.io.array_to_datum(IMAGES[1]).SerializeToString()[:-40]])
    with pytest.raises(caffe.DataError):
        bench(setting(tmp_path / "short")).forward()


@pytest.mark.parametrize("data, transform, error, says", [
    ("", "", caffe.LayerError, "batch_size must be positive"),
    ("batch_size: 2", "crop_size: 6", caffe.DataError, "smaller than crop_size"),
    ("batch_size: 2", "mean_value: 1 mean_value: 2", caffe.DataError, "once per channel"),
    ("batch_size: 2", 'mean_file: "gone"', caffe.DataError, "gone.*mean_file is not there"),
])
def test_settings_that_cannot_work(bench, db, data, transform, error, says):
    with pytest.raises(error, match=says) as e:
        bench(setting(db, data, transform))
    assert e.value.layer == "it" and e.value.help


def test_a_database_that_is_not_there(bench, tmp_path):
    with pytest.raises(caffe.DataError, match="gone.*no such database") as e:
        bench(setting(tmp_path / "gone"))
    assert e.value.layer == "it"


def test_settings_without_effect_are_said(bench, db, caplog):
    bench(setting(db, "batch_size: 2 crop_size: 3 force_encoded_color: true", "force_color: true"))
    assert "crop_size of the old format has no effect" in caplog.text
    assert "force_color and force_gray are for encoded images" in caplog.text
    assert "force_encoded_color has no effect" in caplog.text


def test_the_thread_ends_with_its_layer(bench, db):
    def threads():
        return sum(t.name == "data layer" for t in threading.enumerate())

    gc.collect()
    before = threads()
    it = bench(setting(db))
    assert threads() == before, "nothing is loaded before the first forward"
    it.forward()
    assert threads() == before + 1
    gone = weakref.ref(it.layer)
    del it
    deadline = time.monotonic() + 30
    while (gone() is not None or threads() > before) and time.monotonic() < deadline:
        gc.collect()   # the thread may hold the layer while it loads an item, and end after it
        time.sleep(0.01)
    assert gone() is None and threads() == before
