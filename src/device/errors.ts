/** Errors of the device storey. */

/** A kernel, an allocation or a queue failed. Names the kernel where one is to blame. */
export class DeviceError extends Error {
  override readonly name: string = "DeviceError";
  constructor(
    message: string,
    readonly kernel?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * The device is gone: unplugged, reset by the driver, or closed. Every pending and later call rejects with it.
 * Reopening is the caller's choice: `open()` again and load the model anew; tensors of the lost device stay unusable.
 */
export class DeviceLostError extends DeviceError {
  override readonly name = "DeviceLostError";
}

/** There is no memory left for an allocation. Nothing was allocated; other tensors are untouched. */
export class OutOfMemoryError extends DeviceError {
  override readonly name = "OutOfMemoryError";
  constructor(
    readonly wantedBytes: number,
    readonly liveBytes: number,
    readonly limitBytes: number,
    advice: string,
  ) {
    super(
      `no device memory for ${wantedBytes} bytes: ${liveBytes} of ${limitBytes} bytes are in use. ${advice}`.trim(),
    );
  }
}

/** No device of the wanted kind can be opened here. The message says what was tried. */
export class NoDeviceError extends DeviceError {
  override readonly name = "NoDeviceError";
}
