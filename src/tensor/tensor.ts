/**
 * Tensor: a handle on a slice of device memory. Contiguous, row-major, no lazy graph.
 *
 * Views (reshape, leading-axis slice) share the storage, which is freed with its last handle. Lifetimes are explicit:
 * `using`, `dispose()`, or a `device.scope`.
 */
import type { Allocation, BufferSlice, Device } from "../device/index.js";
import { bytesPerElement, type DType, type TypedArray, viewOf } from "./dtype.js";
import { ShapeError, sizeOf } from "./shape.js";

/** A tensor was used after it had been disposed. */
export class DisposedTensorError extends Error {
  override readonly name = "DisposedTensorError";
}

interface Storage {
  readonly allocation: Allocation;
  handles: number;
}

export class Tensor implements BufferSlice, Disposable {
  private isDisposed = false;

  /** Use `empty`, `zeros` or `upload`. */
  constructor(
    readonly device: Device,
    readonly shape: readonly number[],
    readonly dtype: DType,
    private readonly storage: Storage,
    readonly byteOffset: number,
    isTracked = true,
  ) {
    storage.handles += 1;
    if (isTracked) device.track(this);
  }

  /** @throws {DisposedTensorError} */
  get allocation(): Allocation {
    if (this.isDisposed) throw new DisposedTensorError(`tensor ${this.dtype}[${this.shape.join(", ")}] was disposed`);
    return this.storage.allocation;
  }

  get disposed(): boolean {
    return this.isDisposed;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get byteLength(): number {
    return this.size * bytesPerElement[this.dtype];
  }

  /** Another handle on the same elements that no scope frees: for what must outlive the scope it was made in, such as a tape's. */
  retain(): Tensor {
    void this.allocation;
    return new Tensor(this.device, this.shape, this.dtype, this.storage, this.byteOffset, false);
  }

  /** Gives this handle up for one that no scope frees: what an operation's gradient returns to the tape. */
  handOver(): Tensor {
    const handle = this.retain();
    this.dispose();
    return handle;
  }

  /** The same elements in another shape. */
  reshape(shape: readonly number[]): Tensor {
    if (sizeOf(shape) !== this.size) throw new ShapeError("reshape", "shape", `${this.size} elements`, shape);
    void this.allocation;
    return new Tensor(this.device, [...shape], this.dtype, this.storage, this.byteOffset);
  }

  /**
   * Rows `begin … end − 1` of the leading axis, without a copy. On WebGPU a slice can be bound only where its byte offset is
   * a multiple of the device's offset alignment (256 at most); the launch says so otherwise.
   */
  slice(begin: number, end: number): Tensor {
    const [rows, ...rest] = this.shape;
    if (rows === undefined || !(begin >= 0 && begin <= end && end <= rows)) {
      throw new RangeError(`slice ${begin} … ${end} of tensor [${this.shape.join(", ")}]`);
    }
    void this.allocation;
    const rowBytes = sizeOf(rest) * bytesPerElement[this.dtype];
    return new Tensor(
      this.device,
      [end - begin, ...rest],
      this.dtype,
      this.storage,
      this.byteOffset + begin * rowBytes,
    );
  }

  /** Copies `data` (the bit patterns for f16 and bf16) to the device. */
  write(data: TypedArray): void {
    if (data.length !== this.size) throw new ShapeError("write", "data", `${this.size} elements`, [data.length]);
    if (data.byteLength !== this.byteLength) throw new TypeError(`write: data does not hold ${this.dtype} elements`);
    writeWords(this, data);
  }

  /** Waits for the device and returns a copy; f16 and bf16 come as 16-bit patterns. */
  async read(): Promise<TypedArray> {
    const { size, dtype, byteLength } = this;
    // Transfers move whole words: a tail of 16- or 8-bit elements reads the padding behind it too.
    const words = {
      allocation: this.allocation,
      byteOffset: this.byteOffset,
      byteLength: Math.ceil(byteLength / 4) * 4,
    };
    return viewOf(dtype, await this.device.read(words), 0, size);
  }

  /** `read` for f32 tensors, typed. */
  async readFloat32(): Promise<Float32Array> {
    if (this.dtype !== "f32") throw new TypeError(`readFloat32: the tensor holds ${this.dtype}`);
    return (await this.read()) as Float32Array; // viewOf gives a Float32Array for f32
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.storage.handles -= 1;
    if (this.storage.handles === 0) this.device.free(this.storage.allocation);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A tensor with undefined contents. */
export function empty(device: Device, shape: readonly number[], dtype: DType = "f32", label?: string): Tensor {
  const bytes = Math.max(4, Math.ceil((sizeOf(shape) * bytesPerElement[dtype]) / 4) * 4);
  const allocation = device.allocate(bytes, label);
  return new Tensor(device, [...shape], dtype, { allocation, handles: 0 }, 0);
}

/** A tensor of zeros (recorded). */
export function zeros(device: Device, shape: readonly number[], dtype: DType = "f32", label?: string): Tensor {
  const tensor = empty(device, shape, dtype, label);
  device.clear({ allocation: tensor.allocation, byteOffset: 0, byteLength: tensor.allocation.byteLength });
  return tensor;
}

/** A tensor with a copy of `data`; 16-bit floats as bit patterns. `number[]` is taken for f32, i32 and u32. */
export function upload(
  device: Device,
  data: TypedArray | readonly number[],
  shape: readonly number[],
  dtype: DType = "f32",
): Tensor {
  const tensor = empty(device, shape, dtype);
  const typed = Array.isArray(data) ? fromNumbers(data as readonly number[], dtype) : (data as TypedArray);
  if (typed.length !== tensor.size) {
    tensor.dispose();
    throw new ShapeError("upload", "data", `${sizeOf(shape)} elements for [${shape.join(", ")}]`, [typed.length]);
  }
  writeWords(tensor, typed);
  return tensor;
}

/** Transfers move whole words: a tail of 16- or 8-bit elements takes the padding behind it along. */
function writeWords(tensor: Tensor, data: TypedArray): void {
  const { device, allocation, byteOffset } = tensor;
  if (data.byteLength % 4 === 0) {
    device.write(tensor, data);
    return;
  }
  const byteLength = Math.ceil(data.byteLength / 4) * 4;
  if (byteOffset + byteLength !== allocation.byteLength) {
    throw new RangeError(
      `write: a view of ${data.byteLength} bytes that is not the end of its tensor cannot be written`,
    );
  }
  const padded = new Uint8Array(byteLength);
  padded.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  device.write({ allocation, byteOffset, byteLength }, padded);
}

function fromNumbers(data: readonly number[], dtype: DType): TypedArray {
  if (dtype === "f32") return Float32Array.from(data);
  if (dtype === "i32") return Int32Array.from(data);
  if (dtype === "u32") return Uint32Array.from(data);
  throw new TypeError(`upload: ${dtype} data must come as a typed array of bit patterns`);
}
