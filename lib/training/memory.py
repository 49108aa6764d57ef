"""What to do when a batch does not fit into the memory of a device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# BatchNorm has no statistics of a single image.
SMALLEST = 2


class MemoryFullError(RuntimeError):
    """A batch does not fit into the memory of the device; the message says what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own kind, or the CPU allocator's words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in said or "can't allocate memory" in said
    )


@contextlib.contextmanager
def memory_of(device: str, batch_size: int, *, contrastive: bool) -> Iterator[None]:
    """Within the block, memory that runs out is a MemoryFullError with advice.

    contrastive: a batch whose images are each other's negatives cannot be computed in parts that
    add up. GradCache (Gao et al. 2021) would encode each part twice, and BatchNorm would still take
    its statistics from the parts: other numbers under the same parameters.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        half = max(SMALLEST, batch_size // 2)
        text = f"out of memory on {device} with batches of {batch_size} images"
        if contrastive:
            text += (
                f" (two views of each): the effective batch of a contrastive loss cannot be "
                f"accumulated; set batch_size to {half}, or use a smaller size, precision: bf16 or "
                f"a larger device"
            )
        raise MemoryFullError(text) from error


def loss_in_parts(
    loss_of: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, parts: int
) -> Tensor:
    """The mean loss of a batch [B, …] with labels [B, …], computed in parts one after another.

    The gradients of all parts but the last are added to the weights here; the result carries that
    of the last, for the caller's `backward`. For a loss that is a mean over images, the sum is the
    gradient of the whole batch, but for BatchNorm, which takes its statistics from each part.
    """
    done: list[Tensor] = []
    pieces = list(zip(x.tensor_split(parts), y.tensor_split(parts), strict=True))
    for piece, labels in pieces[:-1]:
        loss = loss_of(piece, labels) * (len(piece) / len(x))
        torch.autograd.backward(loss)
        done.append(loss.detach())
    last, labels = pieces[-1]
    return sum(done, loss_of(last, labels) * (len(last) / len(x)))


def halve(parts: int, batch_size: int, error: MemoryFullError) -> int:
    """Twice as many parts, said in a line; the error itself where they would get too small."""
    if batch_size // (2 * parts) < SMALLEST:
        raise MemoryFullError(
            f"{error}, even in parts of {max(1, batch_size // parts)}; use a smaller size, "
            "precision: bf16 or a larger device"
        ) from error
    print(
        f"{error}: each batch is now computed in {2 * parts} parts of about "
        f"{batch_size // (2 * parts)} images, whose gradients add up. BatchNorm takes its "
        "statistics from each part, so the numbers differ a little from those of whole batches."
    )
    return 2 * parts
