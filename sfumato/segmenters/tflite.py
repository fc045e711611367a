"""TensorFlow Lite files, run by torch: the dozen operators of small mobile networks, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import CapabilityError, WeightsError

Run = Callable[[Sequence[Tensor], Any], Tensor]
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # of the format's FLOAT32, FLOAT16 and INT32


def _same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0) -> Tensor:
    """TensorFlow's "same" padding: n pixels become ceil(n / stride), an odd zero goes behind."""
    room = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    rows, columns = room
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), value=value)


def _padded(x: Tensor, kernel: Sequence[int], stride: Sequence[int], valid: bool) -> Tensor:
    return x if valid else _same(x, kernel, stride)


def _activated(x: Tensor, which: int) -> Tensor:
    """The activation that an operator carries: none, ReLU, or ReLU6."""
    return {0: lambda v: v, 1: F.relu, 3: F.relu6}[which](x)


class Network:
    """A network of a .tflite file: NHWC float32 in, NHWC float32 out.

    Raises: CapabilityError: the extra `sfumato[people]` is missing, or the file has an operator that is not known here.
    """

    def __init__(self, content: bytes):
        try:
            import tflite
        except ImportError:
            raise CapabilityError("reading .tflite files needs a package; pip install 'sfumato[people]'") from None
        self._options = tflite
        model = tflite.Model.GetRootAsModel(content, 0)
        self._graph = graph = model.Subgraphs(0)
        names = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
        self.constants: dict[int, Tensor] = {}
        for i in range(graph.TensorsLength()):
            tensor = graph.Tensors(i)
            raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if isinstance(raw, np.ndarray) and raw.size:
                values = np.frombuffer(raw.tobytes(), DTYPES[tensor.Type()])
                sparse = tensor.Sparsity()
                shape = [int(n) for n in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
                values = values.reshape(shape) if sparse is None else dense(values, shape, sparse)
                self.constants[i] = torch.from_numpy(
                    values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
                )
        self.steps: list[tuple[Run, list[int], int, Any]] = []
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            name = code.CustomCode().decode() if name == "CUSTOM" else name
            if name not in OPERATORS:
                raise CapabilityError(f"this .tflite file has the operator {name}, which is not known here")
            options = self._read(operator, name)
            places = [int(place) for place in operator.InputsAsNumpy() if place >= 0]
            self.steps.append((OPERATORS[name], places, int(operator.Outputs(0)), options))
        self.input, self.outputs = int(graph.Inputs(0)), [int(graph.Outputs(i)) for i in range(graph.OutputsLength())]
        self.size: tuple[int, int] = tuple(int(n) for n in graph.Tensors(self.input).ShapeAsNumpy()[1:3])  # type: ignore[assignment]

    def _read(self, operator: Any, name: str) -> Any:
        """An operator's options, read by the class of the format that its name belongs to."""
        if name not in SETTINGS:
            return operator
        options = getattr(self._options, SETTINGS[name])()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> list[Tensor]:
        """[1, rows, columns, channels] to the outputs.

        Raises: WeightsError: an operator got what it cannot use: the file is damaged.
        """
        values: dict[int, Tensor] = {**self.constants, self.input: x}
        try:
            for run, places, out, options in self.steps:
                values[out] = run([values[place] for place in places], options)
        except (RuntimeError, KeyError, IndexError) as error:
            raise WeightsError(f"the .tflite network cannot be run ({str(error).splitlines()[0]})") from None
        return [values[place] for place in self.outputs]


def dense(values: np.ndarray[Any, Any], shape: Sequence[int], sparse: Any) -> np.ndarray[Any, Any]:
    """A tensor whose stored values lie along a tree: at each axis all places, or those that an index lists.

    Raises: CapabilityError: it is stored in blocks.
    """
    if sparse.BlockMapLength() or list(sparse.TraversalOrderAsNumpy()) != list(range(len(shape))):
        raise CapabilityError("this .tflite file has tensors that are stored in blocks, which is not known here")
    parent, path = np.zeros(1, dtype=np.int64), list[np.ndarray[Any, Any]]()
    for axis, length in enumerate(shape):
        about = sparse.DimMetadata(axis)
        if about.Format() == 0:  # all places
            place = np.tile(np.arange(length), len(parent))
            path, parent = [one.repeat(length) for one in path], parent.repeat(length) * length + place
        else:
            begin = _vector(about.ArraySegments(), about.ArraySegmentsType())
            index = _vector(about.ArrayIndices(), about.ArrayIndicesType())
            path = [one.repeat(begin[parent + 1] - begin[parent]) for one in path]
            parent = np.concatenate([np.arange(begin[p], begin[p + 1]) for p in parent])
            place = index[parent]
        path.append(place)
    full = np.zeros(shape, dtype=values.dtype)
    full[tuple(path)] = values[parent]
    return full


def _vector(table: Any, kind: int) -> np.ndarray[Any, Any]:
    """A list of whole numbers of 32, 16 or 8 bits."""
    import tflite

    vector = (tflite.Int32Vector, tflite.Uint16Vector, tflite.Uint8Vector)[kind - 1]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy()).astype(np.int64)


def _conv(inputs: Sequence[Tensor], options: Any) -> Tensor:
    x, weight = inputs[0].permute(0, 3, 1, 2), inputs[1].permute(0, 3, 1, 2)
    stride = options.StrideH(), options.StrideW()
    x = _padded(x, weight.shape[2:], stride, bool(options.Padding()))
    y = F.conv2d(x, weight, inputs[2], stride)
    return _activated(y, options.FusedActivationFunction()).permute(0, 2, 3, 1)


def _depthwise(inputs: Sequence[Tensor], options: Any) -> Tensor:
    x, weight = inputs[0].permute(0, 3, 1, 2), inputs[1].permute(3, 0, 1, 2)
    stride = options.StrideH(), options.StrideW()
    x = _padded(x, weight.shape[2:], stride, bool(options.Padding()))
    y = F.conv2d(x, weight, inputs[2], stride, groups=len(weight))
    return _activated(y, options.FusedActivationFunction()).permute(0, 2, 3, 1)


def _pool(inputs: Sequence[Tensor], options: Any) -> Tensor:
    kernel, stride = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    return F.avg_pool2d(inputs[0].permute(0, 3, 1, 2), kernel, stride).permute(0, 2, 3, 1)


def _most(inputs: Sequence[Tensor], options: Any) -> Tensor:
    kernel, stride = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    x = inputs[0].permute(0, 3, 1, 2)
    x = x if options.Padding() else _same(x, kernel, stride, -torch.inf)
    return F.max_pool2d(x, kernel, stride).permute(0, 2, 3, 1)


def _resize(inputs: Sequence[Tensor], options: Any) -> Tensor:
    x, size = inputs[0].permute(0, 3, 1, 2), [int(n) for n in inputs[1]]
    if options.HalfPixelCenters() or options.AlignCorners():
        y = F.interpolate(x, size, mode="bilinear", align_corners=bool(options.AlignCorners()))
    else:  # the older rule: pixel i looks at i n / m, without the half
        place = [torch.arange(m) * (n / m) for n, m in zip(x.shape[2:], size, strict=True)]
        low = [p.floor().long() for p in place]
        high = [(one + 1).clamp(max=n - 1) for one, n in zip(low, x.shape[2:], strict=True)]
        rows, columns = (p - p.floor() for p in place)
        x = torch.lerp(x[:, :, low[0]], x[:, :, high[0]], rows[:, None])
        y = torch.lerp(x[..., low[1]], x[..., high[1]], columns)
    return y.permute(0, 2, 3, 1)


def _transposed(inputs: Sequence[Tensor], options: Any) -> Tensor:
    """MediaPipe's Convolution2DTransposeBias, a stride of the kernel's size, weights [outputs, rows, columns, inputs]."""
    x, weight = inputs[0].permute(0, 3, 1, 2), inputs[1].permute(3, 0, 1, 2)
    return F.conv_transpose2d(x, weight, inputs[2], stride=tuple(weight.shape[2:])).permute(0, 2, 3, 1)


def _spread(inputs: Sequence[Tensor], options: Any) -> Tensor:
    """Blocks of channels become squares of pixels, the channel running fastest."""
    x, side = inputs[0], options.BlockSize()
    n, rows, columns, channels = x.shape
    x = x.reshape(n, rows, columns, side, side, channels // side**2).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(n, rows * side, columns * side, channels // side**2)


OPERATORS: Mapping[str, Run] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _most,
    "RESIZE_BILINEAR": _resize,
    "Convolution2DTransposeBias": _transposed,
    "DEQUANTIZE": lambda inputs, _: inputs[0],
    "DENSIFY": lambda inputs, _: inputs[0],
    "PAD": lambda inputs, _: F.pad(inputs[0], [int(n) for n in inputs[1].flip(0).flatten()]),
    "RESHAPE": lambda inputs, _: inputs[0].reshape([int(n) for n in inputs[1]]),
    "CONCATENATION": lambda inputs, options: torch.cat(list(inputs), options.Axis()),
    "DEPTH_TO_SPACE": _spread,
    "RELU": lambda inputs, _: F.relu(inputs[0]),
    "HARD_SWISH": lambda inputs, _: F.hardswish(inputs[0]),
    "LOGISTIC": lambda inputs, _: torch.sigmoid(inputs[0]),
    "ADD": lambda inputs, options: _activated(inputs[0] + inputs[1], options.FusedActivationFunction()),
    "MUL": lambda inputs, options: _activated(inputs[0] * inputs[1], options.FusedActivationFunction()),
}
SETTINGS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "MUL": "MulOptions",
}
