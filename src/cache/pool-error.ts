/** All slots are taken, or a sequence would pass its longest length. */
export class PoolError extends Error {
  override readonly name = "PoolError";
}
