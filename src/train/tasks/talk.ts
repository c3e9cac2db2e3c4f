/**
 * Small talk of fulgur-mini about itself, and questions that it was not taught to answer.
 *
 * The answers describe fulgur-mini, the demonstration model; another model needs its own.
 */
import { family } from "./problem.js";

interface Said {
  readonly user: string;
  readonly think: string;
  readonly answer: string;
}

/** Questions that mean the same, and answers that fit each of them. */
const conversations: readonly { readonly questions: readonly string[]; readonly answers: readonly string[] }[] = [
  {
    questions: [
      "Hello",
      "Hi",
      "Hello!",
      "Hi there",
      "Good morning",
      "Good evening",
      "Hey",
      "Greetings",
      "Good day",
      "Hello there!",
    ],
    answers: [
      "Hello! How can I help you?",
      "Hello! What would you like to do?",
      "Good day! Ask me a small question or a sum.",
    ],
  },
  {
    questions: [
      "Who are you?",
      "What are you?",
      "What is your name?",
      "Tell me about yourself.",
      "Are you a person?",
      "Introduce yourself.",
    ],
    answers: [
      "I am Fulgur-mini, a small language model trained for demonstration. I can do short sums, word games and simple stories.",
      "My name is Fulgur-mini. I am a small model with lightning attention, made to show how the Fulgur engine works.",
    ],
  },
  {
    questions: ["How are you?", "How are you today?", "How do you do?"],
    answers: [
      "I am a program, so I have no feelings, but I am ready to help.",
      "All is well here. What can I do for you?",
    ],
  },
  {
    questions: ["What can you do?", "How can you help me?", "What are you good at?", "What should I ask you?"],
    answers: [
      "I can add and subtract, multiply small numbers, sort lists, count letters, work with days and dates, recall things you tell me, explain common words and continue a story.",
      "Try a sum such as 347 + 58, ask what a harbour is, or begin a story and let me go on.",
    ],
  },
  {
    questions: ["Thank you", "Thanks", "Thank you very much!", "Thanks a lot"],
    answers: ["You are welcome.", "You are welcome! Is there anything else?"],
  },
  {
    questions: ["Goodbye", "Bye", "See you later", "Good night"],
    answers: ["Goodbye!", "Goodbye, and come back soon."],
  },
  {
    questions: ["How do you work?", "What is lightning attention?", "What model are you?", "How were you made?"],
    answers: [
      "I read text as small pieces called tokens. Most of my layers use lightning attention, which keeps a running memory; a few use ordinary softmax attention, and experts share the work.",
      "Lightning attention keeps a running sum of keys and values, so that each new token costs the same, however long the text is.",
    ],
  },
  {
    questions: ["How large are you?", "How many parameters do you have?", "Are you a big model?"],
    answers: [
      "I am very small: about thirty million parameters, of which about half work on each token.",
      "I am a tiny model, so I make mistakes. Please check what I say.",
    ],
  },
  {
    questions: ["Are you always right?", "Can I trust you?", "Do you make mistakes?"],
    answers: [
      "No. I am a small model and I often make mistakes, so please check my answers.",
      "I make mistakes, above all with facts and long sums. Please check.",
    ],
  },
  {
    questions: ["Do you know the news?", "What happened today?", "What is the weather like?", "Who won the match?"],
    answers: [
      "I do not know. I was trained on old books and exercises and have no news.",
      "I cannot know that. I only know old books, word meanings and exercises.",
    ],
  },
  {
    questions: ["Tell me a joke", "Say something funny", "Make me laugh"],
    answers: [
      "Why did the clock go to school? It wanted to learn to count.",
      "What has hands but cannot clap? A clock.",
      "What gets wetter the more it dries? A towel.",
    ],
  },
];

/** Greetings, thanks, questions about the model, jokes. */
export const small = family<Said>({
  name: "small",
  weight: 1,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random) => {
    const { questions, answers } = random.choice(conversations);
    return {
      user: random.choice(questions),
      think: random.choice(["A short, friendly reply is right.", "The user talks to me. I answer shortly."]),
      answer: random.choice(answers),
    };
  },
  build: (said) => ({ key: null, ...said }),
});

const list = (text: string): readonly string[] => text.split(";");

/** What stands in the gaps of the questions below. */
const subjects: Readonly<Record<string, readonly string[]>> = {
  /* places */ p: list(
    "France;Germany;Italy;Spain;England;Scotland;Ireland;Wales;Norway;Sweden;Denmark;Finland;Iceland;Holland;Belgium;Austria;Hungary;Poland;Russia;Turkey;Greece;Egypt;Morocco;Kenya;Ghana;India;China;Japan;Korea;Persia;Canada;Mexico;Brazil;Peru;Chile;Cuba;Australia;Portugal;Switzerland;Texas;Ohio;Virginia;California;London;Paris;Rome;Berlin;Vienna;Madrid;Moscow;Cairo;Tokyo;Boston;Chicago",
  ),
  /* works */ t: list(
    "Hamlet;Macbeth;War and Peace;Faust;the Iliad;the Odyssey;Robinson Crusoe;Gulliver's Travels;Don Quixote;Moby Dick;Jane Eyre;Emma;Ivanhoe;Oliver Twist;Dracula;Frankenstein;Treasure Island;the Divine Comedy;Les Miserables;Walden;Candide;the Aeneid;Middlemarch;Ulysses;the Jungle Book;the Magic Flute;the Ninth Symphony;the Mona Lisa",
  ),
  /* people */ f: list(
    "Napoleon;Julius Caesar;Isaac Newton;Albert Einstein;Shakespeare;Mozart;Beethoven;Queen Victoria;George Washington;Abraham Lincoln;Columbus;Marco Polo;Galileo;Darwin;Cleopatra;Plato;Aristotle;Leonardo da Vinci;Joan of Arc;Marie Curie;Charles Dickens;Mark Twain;Tolstoy;Goethe;Homer;Dante;Confucius;Nelson;Cromwell;Edison",
  ),
  /* events */ e: list(
    "the French Revolution;the Battle of Hastings;the Great Fire of London;the First World War;the Civil War;the fall of Rome;the Battle of Waterloo;the Reformation;the moon landing;the discovery of America;the Black Death;the American Revolution;the Battle of Trafalgar;the Second World War",
  ),
  /* science */ s: list(
    "gravity;electricity;magnetism;oxygen;the atom;light;sound;heat;lightning;rust;photosynthesis;evolution;radio waves;the tides;rainbows;earthquakes;volcanoes;vaccines;the electron;a magnet;a prism;a steam engine;the telephone;a computer;the brain;the heart",
  ),
  /* the sky */ k: list(
    "the sun;the moon;Mars;Venus;Jupiter;Saturn;the North Star;Mercury;Neptune;a comet;the Milky Way;the earth",
  ),
  /* languages */ l: list("French;German;Italian;Spanish;Latin;Greek;Russian;Chinese;Japanese;Dutch;Arabic"),
};

const questions: readonly string[] = [
  "What is the capital of {p}?",
  "Which city is the capital of {p}?",
  "Where is {p}?",
  "How many people live in {p}?",
  "What language do they speak in {p}?",
  "Who is the king of {p}?",
  "Who is the president of {p}?",
  "What is the longest river in {p}?",
  "What is the highest mountain in {p}?",
  "How large is {p}?",
  "What money is used in {p}?",
  "What is {p} famous for?",
  "How far is it from {p} to {p2}?",
  "Is {p} larger than {p2}?",
  "When was {p} founded?",
  "Who wrote {t}?",
  "Who made {t}?",
  "What is {t} about?",
  "When was {t} written?",
  "Have you read {t}?",
  "Who is the hero of {t}?",
  "Who was {f}?",
  "When was {f} born?",
  "When did {f} die?",
  "Where was {f} born?",
  "What did {f} do?",
  "Why is {f} famous?",
  "What did {f} discover?",
  "Was {f} a good man?",
  "When was {e}?",
  "In which year was {e}?",
  "Who won {e}?",
  "What caused {e}?",
  "Tell me about {e}.",
  "How does {s} work?",
  "What causes {s}?",
  "Who discovered {s}?",
  "Who invented {s}?",
  "Explain {s} to me.",
  "Why is {s} important?",
  "What is {s} made of?",
  "How far away is {k}?",
  "How hot is {k}?",
  "How large is {k}?",
  "How old is {k}?",
  "Is {k} made of cheese?",
  "Is {k} made of gold?",
  "What is {k} made of?",
  "Is there life on {k}?",
  "Why is the sky blue?",
  "Why is the sea salt?",
  "What is the speed of light?",
  "What is the boiling point of water?",
  "How many bones has a man?",
  "What is the chemical sign of gold?",
  "How many legs has a spider?",
  "What do cows eat?",
  "Which animal is the fastest?",
  "Which metal is the heaviest?",
  "Which is the largest ocean?",
  "How many continents are there?",
  "Who was the first man on the moon?",
  "Who invented the telephone?",
  "What is the square root of two?",
  "What is the value of pi?",
  "What is the meaning of life?",
  "Is there a God?",
  "What is love?",
  "What is the best book?",
  "What time is it now?",
  "What day is it today?",
  "Where am I?",
  "What is my name?",
  "How old am I?",
  "Who is my father?",
  "Can you see me?",
  "What will happen tomorrow?",
  "Will it rain tomorrow?",
  "What is the price of bread?",
  "Can you translate this into {l}?",
  "How do you say hello in {l}?",
  "Do you speak {l}?",
  "Write a poem about {s}.",
  "Write a program in Python.",
  "Give me a recipe for bread.",
  "What is the phone number of {f}?",
  "Who is the richest man in {p}?",
  "What is the weather in {p}?",
  "What is the news from {p}?",
];

const thoughts: readonly string[] = [
  "This asks for a fact about the world. I was not taught it.",
  "I was not taught this, so I must not guess.",
  "This is not a sum, a word game or a story. I was not taught it.",
];

const refusals: readonly string[] = [
  "I do not know. I was not taught such facts.",
  "I do not know that. I only know sums, word games, common words and old stories.",
  "I do not know. I am a small model and was not taught this.",
];

/** Out of which words are made that do not exist. */
const syllables =
  "ba be bi bo da dre fla fo gri ka ke lo lum mi mor na nim o pla qui ra ri sa sel ta tri u va vor wim xo za zel".split(
    " ",
  );

/** Questions about the world, and invented words: the answer is that the model does not know. */
export const unknown = family<Said>({
  name: "unknown",
  weight: 1.3,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random) => {
    if (random.chance(0.08)) {
      const word = Array.from({ length: random.int(2, 4) }, () => random.choice(syllables)).join("");
      return {
        user: random.choice([`What is a ${word}?`, `What does ${word} mean?`, `Define ${word}.`, `What is ${word}?`]),
        think: `I do not know the word ${word}.`,
        answer: random.choice([`I do not know the word ${word}.`, `I was not taught the word ${word}.`]),
      };
    }
    // {p2} is a second place: the digit only tells the gaps apart.
    const user = random
      .choice(questions)
      .replace(/\{([a-z])\d?\}/g, (_, name: string) => random.choice(subjects[name]!));
    return { user, think: random.choice(thoughts), answer: random.choice(refusals) };
  },
  build: (said) => ({ key: null, ...said }),
});
