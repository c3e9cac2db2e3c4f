/** The layout's words as WGSL constants: `CONTROL_active`, `ROW_slot` … */
import { CONTROL, CONTROL_WORDS, FINISH, OUTPUT, OUTPUT_WORDS, ROW, ROW_WORDS, TOKEN, TOKEN_WORDS } from "./layout.js";

function constants(prefix: string, words: Record<string, number>): string {
  return Object.entries(words)
    .map(([name, word]) => `const ${prefix}_${name} = ${word}u;`)
    .join(" ");
}

export const tokenWgsl = `const TOKEN_WORDS = ${TOKEN_WORDS}u; ${constants("TOKEN", TOKEN)}`;
export const rowWgsl = `const ROW_WORDS = ${ROW_WORDS}u; ${constants("ROW", ROW)}`;
export const controlWgsl = `const CONTROL_WORDS = ${CONTROL_WORDS}u; ${constants("CONTROL", CONTROL)}`;
export const outputWgsl = `const OUTPUT_WORDS = ${OUTPUT_WORDS}u; ${constants("OUTPUT", OUTPUT)} ${constants("FINISH", FINISH)}`;
