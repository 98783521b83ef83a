"""``Protocol``: how a number was taken, as one line that is stored beside it."""

from __future__ import annotations

from functools import cached_property


class Protocol(str):
    """How a number was taken: its measure, and parts ``name:value``, with ``|`` between them.

    Two numbers may be compared if their protocols are equal. ``signature.signature`` makes a
    protocol from settings. An unknown protocol is the empty text.

    Example:
        ``iw_nll|data:mnist_static@8f3a12cd|split:test|points:all|samples:1000|select:valid_bound|recipe:1``
    """

    @cached_property
    def parts(self) -> dict[str, str]:
        """Name of a part -> its value; the first part is named ``measure``."""
        measure, *rest = self.split("|")
        return {"measure": measure, **dict(part.partition(":")[::2] for part in rest)}

    @property
    def measure(self) -> str:
        """The name of what was measured."""
        return self.parts["measure"]

    @property
    def data(self) -> str:
        """The name of the data, without the hash of what was read; empty if none is named."""
        return self.parts.get("data", "").partition("@")[0]

    @property
    def of_other_data(self) -> bool:
        """Whether the number is of other data than the training's, so that it fits no table."""
        return "trained" in self.parts

    @property
    def cases(self) -> int | None:
        """Number of cases that were asked for; None for all."""
        points = self.parts.get("points", "all")
        return int(points) if points.isdecimal() else None

    def as_taken(self, cases: float) -> Protocol:
        """Return the protocol with ``points:all`` if more cases were asked for than there are.

        Args:
            cases: How many the number was measured on; NaN if that is not known.
        """
        # A comparison with NaN is False, so that an unknown number changes nothing.
        if self.cases is not None and cases < self.cases:
            return Protocol(self.replace(f"|points:{self.cases}|", "|points:all|"))
        return self

    def taken_on(self, cases: float) -> str:
        """Describe the cases of the number, if they are not all test cases of the model's own data.

        For example ``50 cases``, ``valid`` or ``data omniglot, train, 50 cases``. The text is empty
        for validations and times of the model's own data: they are taken in one way only.

        Args:
            cases: How many it was taken on; NaN if that is not known.
        """
        protocol = self.as_taken(cases)
        of_validation = protocol.measure.startswith("valid_")

        words = []
        if protocol.of_other_data:
            words.append(f"data {protocol.data}")
        split = protocol.parts.get("split", "test")
        if split != "test" and not of_validation:
            words.append(split)
        if protocol.cases is not None and not of_validation:
            words.append(f"{protocol.cases} cases" if protocol.cases != 1 else "1 case")

        return ", ".join(words)

    def matches(self, wanted: Protocol) -> bool:
        """Whether the number was taken as settings ask for; the hash of the data is ignored.

        Older protocols do not name the batch of a refinement. It is that of the training, the same
        for all numbers of a run, so it is assumed to agree. A protocol without a precision means
        float32.

        Args:
            wanted: The protocol as configured, before any data were read.
        """
        # The precision is compared apart: below, parts that ``wanted`` lacks are ignored, but a
        # number in bfloat16 is not one in float32.
        if self.of_other_data or self.parts.get("precision") != wanted.parts.get("precision"):
            return False

        # The batch of ``wanted`` stands for one that is not named; ``data`` is without its hash.
        parts = {"svi_batch": wanted.parts.get("svi_batch", ""), **self.parts, "data": self.data}
        return all(parts.get(name) == value for name, value in wanted.parts.items())


UNKNOWN = Protocol()
"""The protocol of a number if nobody knows how it was taken."""
