export { bytesPerElement, type DType, type TypedArray, viewOf } from "./dtype.js";
export { ShapeError, sameShape, sizeOf } from "./shape.js";
export {
  activeTape,
  type Backward,
  type Keep,
  NoGradientError,
  type Recorded,
  record,
  type Tape,
  withTape,
} from "./tape.js";
export { DisposedTensorError, empty, Tensor, upload, zeros } from "./tensor.js";
