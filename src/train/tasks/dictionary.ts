/**
 * What words mean, and how they are spelt. All but `spell` need `material.glosses`.
 */
import { family, type Gloss, type Material, needed } from "./problem.js";
import type { Random } from "./random.js";

interface Said {
  readonly user: string;
  readonly think: string;
  readonly answer: string;
}

/** Spelling letter by letter. */
export const spell = family<Said>({
  name: "spell",
  weight: 1.8,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, level, { words }) => {
    const word = random.choice(words, [1500, 5000, 20_000][level]);
    return {
      user: random.choice([`Spell the word ${word}.`, `How do you spell ${word}?`, `Spell ${word} letter by letter.`]),
      think: "",
      answer: [...word].join("-"),
    };
  },
  build: (said) => ({ key: null, ...said }),
});

/** A line of the dictionary; the first lines (common words) come more often. */
function drawGloss(random: Random, name: string, material: Material): Gloss {
  const glosses = needed(material.glosses, name, "glosses");
  return glosses[Math.floor(random.float() ** 1.6 * glosses.length)]!;
}

const withArticle = (word: string): string => `${/^[aeiou]/.test(word) ? "an" : "a"} ${word}`;
const capitalised = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();

/** The meaning of a noun, verb or adjective. */
export const define = family<Said>({
  name: "define",
  weight: 3,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, _level, material) => {
    const [word, part, meaning] = drawGloss(random, "define", material);
    const think = random.choice([`The question asks for the meaning of ${word}.`, `I recall the meaning of ${word}.`]);
    if (part === "n") {
      const user = random.choice([
        `What is ${withArticle(word)}?`,
        `Define ${word}.`,
        `What does ${word} mean?`,
        `Explain the word ${word}.`,
        `What does the word ${word} mean?`,
      ]);
      return { user, think, answer: `${capitalised(withArticle(word))} is ${meaning}.` };
    }
    if (part === "v") {
      const user = random.choice([
        `What does it mean to ${word}?`,
        `What does to ${word} mean?`,
        `Define the verb ${word}.`,
      ]);
      return { user, think, answer: `To ${word} is to ${meaning}.` };
    }
    const user = random.choice([
      `What does ${word} mean?`,
      `Define the adjective ${word}.`,
      `Explain the word ${word}.`,
    ]);
    return { user, think, answer: `${capitalised(word)} means ${meaning}.` };
  },
  build: (said) => ({ key: null, ...said }),
});

/** The word for a meaning. */
export const whichword = family<Said>({
  name: "whichword",
  weight: 0.8,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, _level, material) => {
    const [word, , meaning] = drawGloss(random, "whichword", material);
    return {
      user: random.choice([`Which word means: ${meaning}?`, `What is the word for: ${meaning}?`]),
      think: "",
      answer: word,
    };
  },
  build: (said) => ({ key: null, ...said }),
});

/** The broader word of a noun. */
export const kind = family<Said>({
  name: "kind",
  weight: 0.7,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, _level, material) => {
    const nouns = needed(material.glosses, "kind", "glosses").some(([, part, , broader]) => part === "n" && broader);
    if (!nouns) throw new RangeError("tasks: kind expected a noun with a broader word in material.glosses, got none.");
    for (;;) {
      const [word, part, , broader] = drawGloss(random, "kind", material);
      if (part !== "n" || broader === "") continue;
      const noun = withArticle(word);
      return {
        user: random.choice([
          `What kind of thing is ${noun}?`,
          `Is ${noun} a kind of something?`,
          `To which group does ${word} belong?`,
        ]),
        think: "",
        answer: `${capitalised(noun)} is a kind of ${broader}.`,
      };
    }
  },
  build: (said) => ({ key: null, ...said }),
});
