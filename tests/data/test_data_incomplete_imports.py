"""Files to import that are missing, or images without a class: refused with one line."""

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import write
from tests.data.refusal import refusal


def test_missing_files_are_named(rng, tmp_path):
    path = tmp_path / "in"
    for name in ("cifar10", "imagenette", "mnist", "svhn_cropped"):
        assert f"--from='{path}': no such file or directory" in refusal(name, path)
    path.mkdir()
    assert "holds none of cifar-10-binary.tar.gz, cifar-10-b" in refusal("cifar10", path)
    assert "holds no train_32x32.mat" in refusal("svhn_cropped", path)
    assert "holds no train-images-idx3-ubyte[.gz]" in refusal("mnist", path)
    assert "holds no train/<class>/ of two classes" in refusal("imagenette", path)
    files, _ = fabricate.cifar("cifar10", "binary", rng)
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    write(path, files)
    assert "holds no data_batch_3.bin, which belongs to" in refusal("cifar10", path)
    write(path, {"imagenette2.tgz": b"", "imagenette2-160.tgz": b""})
    assert "several versions (imagenette2-160.tgz, imagenette2.tgz)" in refusal("imagenette", path)
    write(path, {"ILSVRC2012_img_train.tar": b""})
    assert "holds no ILSVRC2012_img_val.tar" in refusal("imagenet2012", path)


def test_images_without_a_class_are_named(rng, tmp_path):
    path = tmp_path / "in"
    files = fabricate.tiny_imagenet(rng)
    del files["tiny-imagenet-200/val/val_annotations.txt"]
    write(path, files)
    assert "val_0.JPEG, of which nothing says the class" in refusal("tiny_imagenet", path)
    write(path, fabricate.photos(rng, ["tiny-imagenet-200/val/n01440765/x.JPEG"]))
    write(
        path,
        {
            "tiny-imagenet-200/val/val_annotations.txt": b"\n".join(
                b"val_%d.JPEG\tn01440764" % number for number in range(6)
            )
        },
    )
    said = refusal("tiny_imagenet", path)
    assert "x.JPEG of the class 'n01440765', which train does not have" in said
    assert "nearest valid value: 'n01440764'" in said
    write(path, {"tiny-imagenet-200/train/n01440764/x.JPEG": b"no image"})
    (path / "tiny-imagenet-200/val/n01440765/x.JPEG").unlink()
    assert "x.JPEG is neither a JPEG nor a PNG" in refusal("tiny_imagenet", path)
