/**
 * Written arithmetic, digit by digit, as thoughts spell it out.
 */
const fromRight = (n: number): string[] => [...String(n)].reverse();
const padded = (digits: string[], length: number): string[] => [...digits, ..."0".repeat(length - digits.length)];
const number = (digits: readonly string[]): number => Number([...digits].reverse().join(""));

/** Lines of a column addition, from the right, with carries. */
export function additionSteps(a: number, b: number): string[] {
  const length = Math.max(String(a).length, String(b).length);
  const [top, bottom] = [padded(fromRight(a), length), padded(fromRight(b), length)];
  const lines = [`From the right: ${top.join(" ")} and ${bottom.join(" ")}.`];
  const result: string[] = [];
  let carry = 0;
  for (const [i, x] of top.entries()) {
    const y = bottom[i]!;
    const sum = Number(x) + Number(y) + carry;
    const column = `${x}+${y}${carry ? "+1" : ""}=${sum}, write ${sum % 10}`;
    carry = sum >= 10 ? 1 : 0;
    lines.push(column + (carry ? ", carry 1." : "."));
    result.push(String(sum % 10));
  }
  if (carry) {
    result.push("1");
    lines.push("Write the carry 1.");
  }
  lines.push(`Digits from the right: ${result.join(" ")}. So ${number(result)}.`);
  return lines;
}

/** Lines of a column subtraction, from the right, with borrows; a >= b. */
export function subtractionSteps(a: number, b: number): string[] {
  const top = fromRight(a);
  const bottom = padded(fromRight(b), top.length);
  const lines = [`From the right: ${top.join(" ")} and ${bottom.join(" ")}.`];
  const result: string[] = [];
  let borrow = 0;
  for (const [i, x] of top.entries()) {
    const y = bottom[i]!;
    const column = `${x}-${y}${borrow ? "-1" : ""}`;
    let digit = Number(x) - borrow - Number(y);
    borrow = digit < 0 ? 1 : 0;
    if (borrow) {
      digit += 10;
      lines.push(`${column} is below 0, borrow: write ${digit}, borrow 1.`);
    } else {
      lines.push(`${column}=${digit}, write ${digit}.`);
    }
    result.push(String(digit));
  }
  lines.push(`Digits from the right: ${result.join(" ")}. So ${number(result)}.`);
  return lines;
}

/** Lines of a product with a one-digit number, from the right, with carries. */
export function digitProductSteps(a: number, digit: number): string[] {
  const lines: string[] = [];
  let carry = 0;
  for (const x of fromRight(a)) {
    const product = Number(x) * digit;
    const sum = product + carry;
    const column = `${x}*${digit}=${product}${carry ? `, +${carry}=${sum}` : ""}, write ${sum % 10}`;
    carry = Math.floor(sum / 10);
    lines.push(column + (carry ? `, carry ${carry}.` : "."));
  }
  if (carry) lines.push(`Write ${carry}.`);
  lines.push(`So ${a}*${digit}=${a * digit}.`);
  return lines;
}

/** Lines of a product with a number of one or two digits: tens, ones, then their sum. */
export function productSteps(a: number, b: number): string[] {
  if (b < 10) return digitProductSteps(a, b);
  const [tens, ones] = [Math.floor(b / 10), b % 10];
  const lines = [`${b} = ${tens}*10 + ${ones}.`, ...digitProductSteps(a, tens), `Times 10: ${a * tens * 10}.`];
  if (ones === 0) return lines;
  const [large, small] = [a * tens * 10, a * ones];
  return [...lines, ...digitProductSteps(a, ones), `Now ${large} + ${small}.`, ...additionSteps(large, small)];
}

/** Lines of a long division, one a digit of `a`, and the digits of the quotient. */
export function divisionSteps(a: number, b: number): { lines: string[]; digits: string[] } {
  const lines: string[] = [];
  const digits: string[] = [];
  let current = 0;
  for (const x of String(a)) {
    current = current * 10 + Number(x);
    if (current < b && digits.length === 0) {
      lines.push(`${current} is below ${b}.`);
      continue;
    }
    const [quotient, remainder] = [Math.floor(current / b), current % b];
    lines.push(`${current}: ${b}*${quotient}=${b * quotient}, ${current}-${b * quotient}=${remainder}.`);
    digits.push(...String(quotient));
    current = remainder;
  }
  return { lines, digits };
}
