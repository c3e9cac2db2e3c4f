/** The rule of format.ts on the device: which tokens of a sequence are packed. */

// @ts-ignore: decorator
@inline
export const PACKED_PAGE_TOKENS: i32 = 128;

/** `packedEnd` of format.ts; `block`: tokens that are packed together. */
// @ts-ignore: decorator
@inline
export function packedEnd(sinks: i32, recent: i32, block: i32, length: i32, floor: i32): i32 {
  const start = max(sinks, floor);
  const old = length - start - recent;
  return old >= block ? start + (old / block) * block : max(floor, min(length, sinks));
}

/** First token that a step with `past` tokens before it may pack: packed blocks begin behind the sinks in layout "channel". */
// @ts-ignore: decorator
@inline
export function firstToPack(isChannel: bool, sinks: i32, floor: i32, end: i32): i32 {
  return isChannel ? max(end, max(sinks, floor)) : end;
}
