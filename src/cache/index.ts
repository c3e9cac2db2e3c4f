export { FullCache } from "./full.js";
export { PoolError, type PoolOptions, Sequence, SequencePool, type SequenceSnapshot, type StateSpec } from "./pool.js";
export { type CacheKind, type CacheName, cacheKind, cacheNames } from "./registry.js";
