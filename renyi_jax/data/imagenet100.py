"""TFDS builder of `imagenet100`: a hundred classes of TFDS' prepared `imagenet2012`.

The records are copied, so that an epoch reads only its own.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from renyi_jax.data.archives import check_count, manual_dir
from renyi_jax.data.prepared import check_shards, open_prepared
from renyi_jax.errors import UserError

_DESCRIPTION = """\
The images of 100 of ImageNet's classes, those of the list that came with contrastive multiview
coding (Tian, Krishnan and Isola, arXiv 1906.05849). Labels count the classes in the list's order.
"""

_CITATION = """\
@inproceedings{tian2020contrastive,
  title     = {Contrastive Multiview Coding},
  author    = {Yonglong Tian and Dilip Krishnan and Phillip Isola},
  booktitle = {ECCV},
  year      = {2020},
}
"""

SPLIT_SIZES = {"train": 126689, "validation": 5000}  # examples of the published splits


def synset_ids() -> list[str]:
    """WordNet ids of the classes, in the order of their labels."""
    file = epath.resource_path("renyi_jax") / "data" / "labels" / "imagenet100.txt"
    return file.read_text().split()


class Imagenet100(tfds.core.GeneratorBasedBuilder):
    """Builder of the `imagenet100` data set."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It is taken from TFDS' imagenet2012 as ArrayRecord files. Get ILSVRC2012_img_train.tar "
        "and ILSVRC2012_img_val.tar from https://image-net.org/download-images, and run this where "
        "TFDS finds the packages that its commands want (pip install tensorflow apache-beam "
        "mlcroissant):\n"
        "  tfds build imagenet2012 --file_format=array_record --manual_dir=FOLDER_OF_THE_TWO_FILES "
        "--data_dir=DATA_DIR\n"
        "Then give DATA_DIR as data_dir or as manual_dir."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=synset_ids()),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://hobbitlong.github.io/CMC/",
            citation=_CITATION,
            license="https://image-net.org/download.php: non-commercial research and education",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folders = [epath.Path(self._data_dir_root), manual_dir(dl_manager)]
        imagenet = open_prepared("imagenet2012", [folder for folder in folders if folder])
        return {split: self._generate_examples(imagenet, split) for split in SPLIT_SIZES}

    def _generate_examples(self, imagenet: Any, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if split not in imagenet.info.splits:
            raise UserError(f"{imagenet.data_path} has no split {split}.")
        check_shards(imagenet, split)
        wanted = set(synset_ids())
        features = imagenet.info.features
        name_of = features["label"].int2str
        found = 0
        source = imagenet.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        for record in source:
            synset = name_of(record["label"])
            if synset in wanted:
                found += 1
                file_name = record["file_name"].decode()
                yield file_name, record | {"label": synset, "file_name": file_name}
        check_count(f"imagenet100 of {imagenet.data_path}", split, found, SPLIT_SIZES[split])
