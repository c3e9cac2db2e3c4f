/**
 * Days of the week, dates, times of day, leap years.
 */
import { family } from "./problem.js";
import { days, monthLengths, months } from "./vocabulary.js";
import { gap, Wordings } from "./wordings.js";

interface WeekdayShift {
  readonly wording: number;
  readonly day: number;
  readonly distance: number;
}

const oneOf = (items: readonly string[]): string => items.join("|");

const weekdayWordings = new Wordings(
  [
    "If today is {d}, what day was it {n} days ago?",
    "If today is {d}, what day is it in {n} days?",
    "Today is {d}. What day will it be after {n} days?",
  ],
  { d: oneOf(days), n: gap.whole },
);

/** The day of the week some days on, or (wording 0) back. */
export const weekday = family<WeekdayShift>({
  name: "weekday",
  weight: 1,
  highestDirectLevel: 0,
  draw: (random, level) => ({
    wording: random.chance(0.25) ? 0 : random.int(1, 2),
    day: random.int(0, 6),
    distance: random.int(1, [6, 30, 200][level]!),
  }),
  build: ({ wording, day, distance }) => {
    const isBack = wording === 0;
    const [weeks, left] = [Math.floor(distance / 7), distance % 7];
    const path = Array.from({ length: left }, (_, i) => days[(day + (isBack ? -1 - i : 1 + i) + 7) % 7]!);
    const walk = `${isBack ? "Back" : "Forward"} ${left} from ${days[day]}: ${path.join(", ") || days[day]}.`;
    return {
      // The word is part of keys that were given out: its spelling decides the split.
      key: `${day}${isBack ? "True" : "False"}${distance}`,
      user: weekdayWordings.write(wording, { d: days[day]!, n: distance }),
      think: (distance >= 7 ? `${distance} = ${weeks}*7 + ${left}. ` : "") + walk,
      answer: path.at(-1) ?? days[day]!,
    };
  },
  read: (user) =>
    weekdayWordings
      .read(user)
      .map((r) => ({ wording: r.wording, day: days.indexOf(r.text("d")), distance: r.number("n") })),
});

interface DateShift {
  readonly month: number;
  readonly day: number;
  readonly distance: number;
}

const dateWordings = new Wordings(["What date is {n} days after {m} {d} in a year that is not a leap year?"], {
  n: gap.whole,
  m: oneOf(months),
  d: gap.whole,
});

/** The date some days on. */
export const date = family<DateShift>({
  name: "date",
  weight: 1,
  highestDirectLevel: 0,
  draw: (random, level) => {
    const month = random.int(0, 11);
    return { month, day: random.int(1, monthLengths[month]!), distance: random.int(1, [9, 28, 60][level]!) };
  },
  build: ({ month, day, distance }) => {
    let [endMonth, endDay] = [month, day + distance];
    const steps = [`${day}+${distance}=${endDay}.`];
    while (endDay > monthLengths[endMonth]!) {
      const length = monthLengths[endMonth]!;
      steps.push(`${months[endMonth]} has ${length} days. ${endDay}-${length}=${endDay - length}.`);
      endDay -= length;
      endMonth = (endMonth + 1) % 12;
    }
    return {
      key: `${month} ${day} ${distance}`,
      user: dateWordings.write(0, { n: distance, m: months[month]!, d: day }),
      think: steps.join(" "),
      answer: `${months[endMonth]} ${endDay}`,
    };
  },
  read: (user) =>
    dateWordings
      .read(user)
      .map((r) => ({ month: months.indexOf(r.text("m")), day: r.number("d"), distance: r.number("n") }))
      .filter(({ month, day, distance }) => day >= 1 && day <= monthLengths[month]! && distance <= 10_000),
});

interface TimeShift {
  readonly hour: number;
  readonly minute: number;
  readonly hours: number;
  readonly minutes: number;
}

const twoDigits = (n: number): string => String(n).padStart(2, "0");

const timeWordings = new Wordings(["It is {h}:{m}. What time is it {dh} hours and {dm} minutes later?"], {
  h: gap.whole,
  m: "\\d\\d",
  dh: gap.whole,
  dm: gap.whole,
});

/** The time of day some hours and minutes later. */
export const time = family<TimeShift>({
  name: "time",
  weight: 1,
  highestDirectLevel: 0,
  draw: (random, level) => ({
    hour: random.int(0, 23),
    minute: level === 0 ? random.choice([0, 15, 30, 45]) : random.int(0, 59),
    hours: random.int(0, [3, 9, 20][level]!),
    minutes: level === 0 ? random.choice([15, 30, 45]) : random.int(1, 59),
  }),
  build: ({ hour, minute, hours, minutes }) => {
    const endMinute = (minute + minutes) % 60;
    const carry = minute + minutes >= 60 ? 1 : 0;
    const endHour = hour + hours + carry;
    return {
      key: `${hour}:${minute}+${hours}:${minutes}`,
      user: timeWordings.write(0, { h: hour, m: twoDigits(minute), dh: hours, dm: minutes }),
      think:
        `${minute}+${minutes}=${minute + minutes}` +
        (carry ? `, that is 1 hour and ${endMinute} minutes. ` : ". ") +
        `${hour}+${hours}${carry ? "+1" : ""}=${endHour}` +
        (endHour >= 24 ? `, minus 24 is ${endHour - 24}.` : "."),
      answer: `${endHour % 24}:${twoDigits(endMinute)}`,
    };
  },
  read: (user) =>
    timeWordings
      .read(user)
      .map((r) => ({ hour: r.number("h"), minute: r.number("m"), hours: r.number("dh"), minutes: r.number("dm") }))
      .filter((t) => t.hour < 24 && t.minute < 60 && t.hours < 24 && t.minutes < 60),
});

interface Year {
  readonly wording: number;
  readonly year: number;
}

const leapWordings = new Wordings(["Is {y} a leap year?", "Was or will {y} be a leap year?"], { y: gap.whole });

/** Leap years of the Gregorian calendar. */
export const leap = family<Year>({
  name: "leap",
  weight: 0.5,
  highestDirectLevel: 2,
  draw: (random, level) => {
    const year = random.int(1600, 2400);
    const isCentury = level === 2 && random.chance(0.5);
    return { wording: leapWordings.draw(random), year: isCentury ? year - (year % 100) : year };
  },
  build: ({ wording, year }) => {
    let think = `${year} divided by 4 leaves ${year % 4}.`;
    if (year % 4 === 0) think += ` ${year} divided by 100 leaves ${year % 100}.`;
    if (year % 100 === 0) think += ` ${year} divided by 400 leaves ${year % 400}.`;
    const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
    return {
      key: String(year),
      user: leapWordings.write(wording, { y: year }),
      think,
      answer: isLeap ? "Yes" : "No",
    };
  },
  read: (user) => leapWordings.read(user).map((r) => ({ wording: r.wording, year: r.number("y") })),
});
