/**
 * Sums in sentences: eight kinds.
 */
import { family, type Level } from "./problem.js";
import type { Random } from "./random.js";
import { names, things } from "./vocabulary.js";
import { gap, type Reading, type Values, Wordings } from "./wordings.js";

interface Solution {
  readonly think: string;
  readonly answer: number;
}

/** One kind of problem: the values of its gaps are all that there is to know. */
interface Kind {
  readonly wording: Wordings;
  draw(random: Random, level: Level): Values;
  solve(reading: Reading): Solution;
}

const shapes = {
  a: gap.name,
  b: gap.name,
  t: gap.word,
  x: gap.whole,
  y: gap.whole,
  z: gap.whole,
  n: gap.whole,
  large: gap.word,
  small: gap.word,
};

/** Large unit, small unit, how many small ones make a large one. */
const units = [
  ["metres", "centimetres", 100],
  ["kilometres", "metres", 1000],
  ["hours", "minutes", 60],
  ["minutes", "seconds", 60],
  ["weeks", "days", 7],
  ["days", "hours", 24],
  ["kilograms", "grams", 1000],
  ["dozens", "pieces", 12],
  ["feet", "inches", 12],
] as const;

function drawCommon(random: Random, level: Level) {
  const [a, b] = random.sample(names, 2) as [string, string]; // two were asked for
  return {
    a,
    b,
    t: random.choice(things),
    x: random.int(3, [20, 60, 200][level]!),
    y: random.int(2, [10, 40, 90][level]!),
    z: random.int(2, 9),
  };
}

/** More than is taken away. */
function drawEnough(random: Random, level: Level) {
  const values = drawCommon(random, level);
  return { ...values, x: values.x + values.y };
}

function kind(template: string, draw: Kind["draw"], solve: Kind["solve"]): Kind {
  return { wording: new Wordings([template], shapes), draw, solve };
}

const kinds: readonly Kind[] = [
  kind("{a} has {x} {t}. {b} gives {a} {y} more. How many {t} does {a} have now?", drawCommon, (r) => {
    const [x, y] = [r.number("x"), r.number("y")];
    return { think: `${x}+${y}=${x + y}.`, answer: x + y };
  }),
  kind("{a} has {x} {t} and gives {y} of them to {b}. How many {t} are left?", drawEnough, (r) => {
    const [x, y] = [r.number("x"), r.number("y")];
    return { think: `${x}-${y}=${x - y}.`, answer: x - y };
  }),
  kind("There are {z} boxes with {y} {t} in each box. How many {t} are there in all?", drawCommon, (r) => {
    const [y, z] = [r.number("y"), r.number("z")];
    return { think: `${z}*${y}=${z * y}.`, answer: z * y };
  }),
  kind(
    "{a} shares {n} {t} equally among {z} friends. How many {t} does each friend get?",
    (random, level) => {
      const values = drawCommon(random, level);
      return { ...values, n: values.z * values.y };
    },
    (r) => {
      const [n, z] = [r.number("n"), r.number("z")];
      return { think: `${n}/${z}=${n / z}.`, answer: n / z };
    },
  ),
  kind("{a} has {x} {t}. {b} has {y} {t} more than {a}. How many {t} do they have together?", drawCommon, (r) => {
    const [x, y] = [r.number("x"), r.number("y")];
    return {
      think: `${r.text("b")} has ${x}+${y}=${x + y}. Together ${x}+${x + y}=${2 * x + y}.`,
      answer: 2 * x + y,
    };
  }),
  kind("{a} buys {x} {t}, loses {y} of them and then finds {z} more. How many {t} does {a} have?", drawEnough, (r) => {
    const [x, y, z] = [r.number("x"), r.number("y"), r.number("z")];
    return { think: `${x}-${y}=${x - y}. ${x - y}+${z}=${x - y + z}.`, answer: x - y + z };
  }),
  kind(
    "How many {small} are there in {n} {large}?",
    (random, level) => {
      const [large, small] = random.choice(units);
      return { large, small, n: random.int(2, [9, 20, 40][level]!) };
    },
    (r) => {
      const [large, small, n] = [r.text("large"), r.text("small"), r.number("n")];
      const factor = units.find((unit) => unit[0] === large && unit[1] === small)?.[2] ?? Number.NaN;
      return {
        think: `One of the ${large} is ${factor} ${small}. ${n}*${factor}=${n * factor}.`,
        answer: n * factor,
      };
    },
  ),
  kind(
    "{a} reads {y} pages a day for {z} days, and then {x} pages more. How many pages does {a} read?",
    drawCommon,
    (r) => {
      const [x, y, z] = [r.number("x"), r.number("y"), r.number("z")];
      return { think: `${y}*${z}=${y * z}. ${y * z}+${x}=${y * z + x}.`, answer: y * z + x };
    },
  ),
];

/** Every kind whose sentence this is, solved. Sentences without a whole answer are left out. */
function solutions(user: string): Solution[] {
  return kinds
    .flatMap(({ wording, solve }) => wording.read(user).map(solve))
    .filter(({ answer }) => Number.isInteger(answer) && answer >= 0);
}

interface Sentence {
  readonly user: string;
}

/** Sums in sentences; the question is its own key. */
export const word = family<Sentence>({
  name: "word",
  weight: 2.2,
  highestDirectLevel: 0,
  draw: (random, level) => {
    const { wording, draw } = random.choice(kinds);
    return { user: wording.write(0, draw(random, level)) };
  },
  build: ({ user }) => {
    const [solution] = solutions(user);
    if (solution === undefined) throw new RangeError(`word: "${user}" is no problem of this family.`);
    return { key: user, user, think: solution.think, answer: String(solution.answer) };
  },
  read: (user) => (solutions(user).length > 0 ? [{ user }] : []),
});
