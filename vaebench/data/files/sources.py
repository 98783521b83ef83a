"""The sources of the data files.

One entry for each file, with its SHA-256 and every known source in order of preference. A file is
known by its content, never by the place it came from: any copy with the right SHA-256 will do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One file of a data set.

    Attributes:
        folder: Folder inside a mirror and inside the cache.
        name: File name at the source.
        sha256: Hex digest of the file, or of its unzipped content if ``unzipped`` is True; '' if
            none is known.
        urls: Addresses, tried in this order.
        unzipped: Whether the file may be plain as ``name`` or gzipped as ``name.gz``; the digest is
            that of the unzipped content.
        md5: Used if no SHA-256 is known: good against accidents, weak against intent.
        documents: Number of lines that are not blank, which is checked if no digest is known; 0 if
            this is not known either. The loader then checks all else that is known of the file, and
            a prepared file remembers which content it was made of.
        archive: Name of the .tar.gz that ``urls`` serve, with ``name`` somewhere in it; '' if they
            serve the file itself. A copy of the archive in ``folder`` will do too. The archive has
            no digest of its own: what is taken out of it is checked.
    """

    folder: str
    name: str
    sha256: str
    urls: tuple[str, ...] = ()
    unzipped: bool = False
    md5: str = ""
    documents: int = 0
    archive: str = ""

    @property
    def algorithm(self) -> str:
        """The digest that the file is checked against: 'sha256' or 'md5'."""
        return "sha256" if self.sha256 or not self.md5 else "md5"

    @property
    def digest(self) -> str:
        """The hex digest that is expected; '' if none is known: then ``documents`` is used."""
        return self.sha256 or self.md5

    @property
    def expected(self) -> str:
        """What a copy is checked against, in words."""
        if self.digest:
            return f"{self.algorithm} {self.digest}"
        return (
            f"{self.documents:,} documents"
            if self.documents
            else "a whole file; its digest is not on record"
        )

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names under which a local copy is looked for."""
        return (self.name, f"{self.name}.gz") if self.unzipped else (self.name,)


def _binarized_mnist(split: str, sha256: str) -> Source:
    name = f"binarized_mnist_{split}.amat"
    place = f"www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/{name}"
    return Source(
        "binarized_mnist", name, sha256, (f"http://{place}", f"https://{place}"), unzipped=True
    )


def _mnist(name: str, sha256: str) -> Source:
    hosts = (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    return Source("mnist", name, sha256, tuple(f"{host}/{name}" for host in hosts))


BINARIZED_MNIST = {
    "train": _binarized_mnist(
        "train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
    ),
    "valid": _binarized_mnist(
        "valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
    ),
    "test": _binarized_mnist(
        "test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
    ),
}
"""Larochelle's fixed binarization of MNIST (Salakhutdinov & Murray 2008):
text, one example a line."""

MNIST = {
    "train": _mnist(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "test": _mnist(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
}
"""MNIST's images (LeCun, Cortes & Burges), 60,000 and 10,000: gzipped idx. Labels are not used."""

OMNIGLOT = {
    "chardata": Source(
        "omniglot",
        "chardata.mat",
        "",
        (
            "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat",
            "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/chardata.mat",
        ),
        md5="21ecaf34373511aa7691cf2e0802aa3d",
    ),
}
"""The 28x28 OMNIGLOT of Burda, Grosse & Salakhutdinov (2016): MATLAB. Only its MD5 is on record."""

OMNIGLOT_RECONSTRUCTED = {
    "chardata": Source(
        "omniglot",
        "chardata_reconstructed.mat",
        "174b58f00fa6ab7c23a3515ad5af46dc4172b3b036a23f1ab62104050e5d98c7",
    ),
}
"""A reconstruction of the 28x28 OMNIGLOT of Burda, Grosse & Salakhutdinov (2016):
MATLAB. It only comes from a mirror."""

CALTECH101_SILHOUETTES = {
    "split1": Source(
        "caltech101_silhouettes",
        "caltech101_silhouettes_28_split1.mat",
        "eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a",
        ("https://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat",),
    ),
}
"""28x28 silhouettes of Caltech-101's objects (Marlin, Swersky, Chen & de Freitas 2010), first
split: MATLAB."""

FREY_FACE = {
    "freyfaces": Source(
        "frey_face",
        "freyfaces.pkl",
        "3b69410c6a5fd6e03f09012905168be3712373a094a776f7e58fcd0670d2138a",
        (
            "https://github.com/jmtomczak/vae_vampprior/raw/master/datasets/Freyfaces/freyfaces.pkl",
            "https://raw.githubusercontent.com/jmtomczak/vae_vampprior/master/datasets/Freyfaces/freyfaces.pkl",
        ),
    ),
}
"""The 1,965 frames of Roweis' frey_rawface.mat as bytes (1965, 560), row by row: a
pickle of one NumPy array."""


def _text(folder: str, split: str, drive: str, sha256: str = "", documents: int = 0) -> Source:
    """Return a file of He et al.'s archive on Google Drive; the archive has no digest on record."""
    places = ("drive.usercontent.google.com/download", "drive.google.com/uc")
    urls = tuple(f"https://{place}?id={drive}&export=download&confirm=t" for place in places)
    name = f"{folder}.{split}.txt"
    archive = f"{folder}.tar.gz"
    return Source(folder, name, sha256, urls, unzipped=True, documents=documents, archive=archive)


_YAHOO = "13azGlTuGdzWLCmgDmQPmvb_jcexVWX7i"
_YELP = "1FT49oLNV8syhmGXEgiK6XTjEfMNqqEJJ"

YAHOO = {
    "train": _text("yahoo", "train", _YAHOO, documents=100_000),
    "valid": _text(
        "yahoo", "valid", _YAHOO, "3247ac3ffcc4d4bfd6216f2aaa617f6706cdc4081874da39245fe156825898d1"
    ),
    "test": _text(
        "yahoo", "test", _YAHOO, "ad843c4363adbdd07d8055d9bf121e5f23c285760df43a0031b89d8538293075"
    ),
}
"""Yahoo answers (Yang, Hu, Salakhutdinov & Berg-Kirkpatrick 2017): text, one document a line.

The training file has no digest on record.
"""

YELP = {
    "train": _text("yelp", "train", _YELP, documents=100_000),
    "valid": _text("yelp", "valid", _YELP, documents=10_000),
    "test": _text("yelp", "test", _YELP, documents=10_000),
}
"""Yelp reviews (Yang et al. 2017): text, ``label<TAB>document`` a line.
No digest is on record."""


def _news20(name: str, sha256: str) -> Source:
    url = f"https://raw.githubusercontent.com/ysmiao/nvdm/master/data/20news/{name}"
    return Source("20news", name, sha256, (url,))


NEWS20 = {
    "train": _news20(
        "train.feat", "55dfc0cc4e8aac22484ed93a4d785bb171959a00e8ffbca6f13c1c80d8cc4ce5"
    ),
    "test": _news20(
        "test.feat", "344eff7e61116d72abd6ebc3d3c1e286c0474b41bf85ab09c8b898e0a5ff80c1"
    ),
    "vocabulary": _news20(
        "vocab.new", "afbe73140a0d39578e6ae33914e049e6587768c088a0501392afda20ca3c85a8"
    ),
}
"""20 Newsgroups as counts of 2,000 words, as released with NVDM: text, ``label id:count ...`` a
line, ids from 1.

The MD5 of the three files: 0b1c3c2f78564029bad750d592e67300, ef2a6090ee05a1f64da8b3c1da918be3 and
a66cbb7fa9ff781d3c3fc9ee43bda365.
"""


def _rcv1(part: str) -> Source:
    name = f"lyrl2004_tokens_{part}.dat"
    url = f"http://www.ai.mit.edu/projects/jmlr/papers/volume5/lewis04a/a12-token-files/{name}.gz"
    return Source("rcv1", name, "", (url,), unzipped=True)


RCV1 = {part: _rcv1(part) for part in ("train", "test_pt0", "test_pt1", "test_pt2", "test_pt3")}
"""The token files of RCV1-v2 (Lewis, Yang, Rose & Li 2004), gzipped text.
No digest is on record."""
