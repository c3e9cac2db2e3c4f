/** The words of layout.ts that CPU kernels use, as byte offsets. A difference from layout.ts fails the walks of advance.test.ts. */

export const TOKEN_BYTES: usize = 16;
export const TOKEN_ID: usize = 0;
export const TOKEN_POSITION: usize = 4;
export const TOKEN_ROW: usize = 8;
export const TOKEN_SLOT: usize = 12;

export const ROW_BYTES: usize = 16;
export const ROW_FIRST_TOKEN: usize = 0;
export const ROW_TOKEN_COUNT: usize = 4;
export const ROW_SLOT: usize = 8;
export const ROW_PAST: usize = 12;

export const CONTROL_BYTES: usize = 256;
export const ACTIVE: usize = 0;
export const POSITION: usize = 4;
export const SAMPLED: usize = 8;
export const GENERATED: usize = 12;
export const MAX_TOKENS: usize = 16;
export const FINISH: usize = 20;
export const THINK_STATE: usize = 24;
export const THINK_COUNT: usize = 28;
export const THINK_BUDGET: usize = 32;
export const OPEN_ID: usize = 36;
export const CLOSE_ID: usize = 40;
export const FORCED_AT: usize = 44;
export const FORCED_COUNT: usize = 48;
export const FORCED: usize = 52;
export const STOP_COUNT: usize = 116;
export const STOP: usize = 120;
export const REPEAT_COUNT: usize = 184;
export const REPEAT_LIMIT: usize = 188;
export const REPEAT_THRESHOLD: usize = 192;
export const SEED: usize = 196;
export const TEMPERATURE: usize = 200;
export const TOP_K: usize = 204;
export const TOP_P: usize = 208;
export const MIN_P: usize = 212;
export const REPETITION_PENALTY: usize = 216;
export const LOG_PROB: usize = 220;
export const MAX_POSITION: usize = 224;

export const MAX_FORCED: i32 = 16;
export const MAX_STOPS: i32 = 16;

export const FINISH_STOP: i32 = 1;
export const FINISH_LENGTH: i32 = 2;
export const FINISH_REPETITION: i32 = 3;
export const FINISH_CONTEXT: i32 = 4;

export const OUTPUT_BYTES: usize = 16;
export const OUTPUT_TOKEN: usize = 0;
export const OUTPUT_LOG_PROB: usize = 4;
export const OUTPUT_FINISH: usize = 8;
export const OUTPUT_SLOT: usize = 12;
