/** What a kernel can know about the thread that runs it. */

/** `FIRST_CALL` in list.ts, in bytes; a line of 64 bytes for each worker. */
// @ts-ignore: decorator
@inline
const FIRST_CALL: usize = 8192;

/**
 * Whether this is the worker's first call for the launch. What it put into its scratch in that call is still there in the
 * later ones: so each worker prepares something for itself once, however small the chunks are.
 */
// @ts-ignore: decorator
@inline
export function isFirstCall(worker: i32): bool {
  return load<i32>(FIRST_CALL + ((<usize>worker) << 6)) != 0;
}
