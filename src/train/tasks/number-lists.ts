/**
 * Lists of numbers: sorted, their largest or smallest, their sum.
 */
import { family, listKey, readNumbers } from "./problem.js";
import { gap, Wordings } from "./wordings.js";

interface Sorted {
  readonly wording: number;
  readonly numbers: readonly number[];
  readonly isAscending: boolean;
}

const sortWordings = new Wordings(
  ["Sort these numbers {d}: {x}", "Put these numbers in order {d}: {x}", "Arrange {d}: {x}"],
  { d: "from small to large|from large to small", x: gap.numbers },
);

/** Sorting, by choosing the smallest (or largest) that is left. */
export const sort = family<Sorted>({
  name: "sort",
  weight: 1.2,
  highestDirectLevel: 1,
  draw: (random, level) => ({
    wording: sortWordings.draw(random),
    numbers: Array.from({ length: [3, 5, 8][level]! + random.int(0, 1) }, () => random.digits(1, level > 0 ? 3 : 2)),
    isAscending: random.chance(0.75),
  }),
  build: ({ wording, numbers, isAscending }) => {
    const sorted = [...numbers].sort((a, b) => (isAscending ? a - b : b - a));
    const rest = [...numbers];
    const steps = sorted.slice(0, -1).map((next) => {
      const step = `${isAscending ? "Smallest" : "Largest"} of ${rest.join(" ")} is ${next}.`;
      rest.splice(rest.indexOf(next), 1);
      return step;
    });
    return {
      key: listKey(numbers),
      user: sortWordings.write(wording, {
        d: isAscending ? "from small to large" : "from large to small",
        x: numbers.join(", "),
      }),
      think: steps.join("\n"),
      answer: sorted.join(", "),
    };
  },
  read: (user) =>
    sortWordings.read(user).map((r) => ({
      wording: r.wording,
      numbers: readNumbers(r.text("x")),
      isAscending: r.text("d") === "from small to large",
    })),
});

interface Extreme {
  readonly wording: number;
  readonly numbers: readonly number[];
  readonly kind: "largest" | "smallest";
}

const minmaxWordings = new Wordings(["What is the {k} number in this list: {x}?", "Find the {k} of {x}."], {
  k: "largest|smallest",
  x: gap.numbers,
});

/** The largest or smallest of a list, in one pass. */
export const minmax = family<Extreme>({
  name: "minmax",
  weight: 0.9,
  highestDirectLevel: 2,
  draw: (random, level) => ({
    wording: minmaxWordings.draw(random),
    numbers: Array.from({ length: [3, 5, 8][level]! }, () => random.digits(1, 3)),
    kind: random.choice(["largest", "smallest"] as const),
  }),
  build: ({ wording, numbers, kind }) => {
    let best = numbers[0]!;
    const steps = [`Start with ${best}.`];
    for (const x of numbers.slice(1)) {
      if (kind === "largest" ? x > best : x < best) {
        best = x;
        steps.push(`${x} is ${kind === "largest" ? "larger" : "smaller"}, keep ${x}.`);
      } else {
        steps.push(`${x} no.`);
      }
    }
    return {
      key: listKey(numbers),
      user: minmaxWordings.write(wording, { k: kind, x: numbers.join(", ") }),
      think: steps.join(" "),
      answer: String(best),
    };
  },
  read: (user) =>
    minmaxWordings.read(user).map((r) => ({
      wording: r.wording,
      numbers: readNumbers(r.text("x")),
      kind: r.text("k") === "largest" ? "largest" : "smallest",
    })),
});

interface Summed {
  readonly wording: number;
  readonly numbers: readonly number[];
}

const sumWordings = new Wordings(["What is the sum of {x}?", "Add up these numbers: {x}"], { x: gap.numbers });

/** The sum of a list, as a running sum. */
export const sum = family<Summed>({
  name: "sum",
  weight: 1,
  highestDirectLevel: 0,
  draw: (random, level) => ({
    wording: sumWordings.draw(random),
    numbers: Array.from({ length: [3, 4, 6][level]! }, () => random.int(1, [20, 50, 99][level]!)),
  }),
  build: ({ wording, numbers }) => {
    let total = numbers[0]!;
    const steps = numbers.slice(1).map((x) => {
      const before = total;
      total += x;
      return `${before}+${x}=${total}.`;
    });
    return {
      key: listKey(numbers),
      user: sumWordings.write(wording, { x: numbers.join(", ") }),
      think: steps.join(" "),
      answer: String(total),
    };
  },
  read: (user) => sumWordings.read(user).map((r) => ({ wording: r.wording, numbers: readNumbers(r.text("x")) })),
});
