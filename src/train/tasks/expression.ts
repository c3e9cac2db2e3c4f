/**
 * Value of an expression of whole numbers with +, -, * and parentheses, exactly.
 *
 *   sum     = product (("+" | "-") product)*
 *   product = factor ("*" factor)*
 *   factor  = "-" factor | number | "(" sum ")"
 */

/** What an expression is worth, and the numbers that stand in it from left to right. */
export interface Evaluated {
  readonly value: bigint;
  readonly numbers: readonly number[];
}

// Text out of a model can be anything: a thousand open parentheses must not reach the depth of the stack.
const longestText = 500;

/** The value and the numbers of an expression; `undefined` when the text is not one, or is longer than 500 characters. */
export function evaluate(text: string): Evaluated | undefined {
  if (text.length > longestText || !/^[\d+\-* ()]*$/.test(text)) return undefined;
  const tokens = text.match(/\d+|[-+*()]/g) ?? [];
  const numbers: number[] = [];
  let at = 0;

  function factor(): bigint | undefined {
    const token = tokens[at++];
    if (token === undefined) return undefined;
    if (token === "-") {
      const inner = factor();
      return inner === undefined ? undefined : -inner;
    }
    if (token === "(") {
      const inner = sum();
      return tokens[at++] === ")" ? inner : undefined;
    }
    if (!/^\d/.test(token)) return undefined;
    numbers.push(Number(token));
    return BigInt(token);
  }

  function product(): bigint | undefined {
    let left = factor();
    while (left !== undefined && tokens[at] === "*") {
      at++;
      const right = factor();
      left = right === undefined ? undefined : left * right;
    }
    return left;
  }

  function sum(): bigint | undefined {
    let left = product();
    while (left !== undefined && (tokens[at] === "+" || tokens[at] === "-")) {
      const isMinus = tokens[at++] === "-";
      const right = product();
      left = right === undefined ? undefined : isMinus ? left - right : left + right;
    }
    return left;
  }

  const value = sum();
  return value === undefined || at !== tokens.length ? undefined : { value, numbers };
}
