/**
 * Names and things that the sentences of several families share.
 */
const list = (text: string): readonly string[] => text.split(" ");

/** First names. */
export const names = list(
  "Anna Ben Clara David Ella Frank Grace Henry Iris Jack Kate Leo Mary Ned Olive Peter Rose Sam Tom Vera Will Zoe Lucy Max Nora Paul Ruth Simon Emma Hugo",
);

/** Things to own, in the plural. */
export const things = list(
  "apples pears coins books stones shells cards eggs cups buttons nuts pencils stamps flowers candles keys plums marbles fish loaves",
);

/** Days of the week, from Monday. */
export const days = list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday");

/** Months of the year. */
export const months = list("January February March April May June July August September October November December");

/** Days of each month in a year that is not a leap year. */
export const monthLengths: readonly number[] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
