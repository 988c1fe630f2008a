"Marks the symbols within a formula, so that a page can show what they mean."

import re

TOKEN = re.compile(r"\\\\(?:\s*\[[^\]]*\])?|\\[A-Za-z]+\*?|\\.|[A-Za-z]|\s+|.", re.S)
# a symbol together with its argument
ACCENTS = {
    rf"\{a}" for a in "tilde hat bar vec boldsymbol mathbf bm mathcal widehat widetilde".split()
}
# commands whose arguments hold no symbols: the number of arguments -> their names
LEFT_ALONE = {
    1: "text textbf textit texttt textrm textsf mbox mathtt mathsf tag label begin end "
    "operatorname mathbb mathrm hspace vspace color class",
    0: "left right big Big bigl bigr",
}
VERBATIM = {rf"\{a}": n for n, names in LEFT_ALONE.items() for a in names.split()}
# commands that take the next token where no group follows: a marked one must become a group
ARGUMENTS = {r"\sqrt": 1, r"\frac": 2, r"\tfrac": 2, r"\dfrac": 2, r"\overline": 1}


def spelled(base, scripts):
    return base + "".join(sign.strip() + arg for sign, arg in scripts)


class Formula:
    r"""A formula whose symbols are marked: `\class{symbol-...}{...}` around those `known` names.

    Nothing else changes."""

    def __init__(self, tex, known):
        self.tokens, self.at, self.known = TOKEN.findall(tex), 0, known

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def blanks(self):
        start = self.at
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return "".join(self.tokens[start : self.at])

    def argument(self):
        "The next group or token, as it stands."
        out, depth = self.blanks(), 0
        while self.at < len(self.tokens):
            t = self.next()
            out += t
            depth += (t == "{") - (t == "}")
            if depth <= 0:
                break
        return out

    def scripts(self):
        "The indices that follow, as they stand, each with its sign."
        out = []
        while self.at < len(self.tokens):
            start = self.at
            blanks = self.blanks()
            if self.at == len(self.tokens) or self.tokens[self.at] not in ("^", "_", "'"):
                self.at = start
                break
            sign = self.next()
            out.append((blanks + sign, "" if sign == "'" else self.argument()))
        return out

    def marked(self):
        out = ""
        while self.at < len(self.tokens):
            t = self.next()
            if t in VERBATIM:
                out += t + "".join(self.argument() for _ in range(VERBATIM[t]))
            elif t in ARGUMENTS and self.tokens[self.at : self.at + 1] != ["["]:
                out += t + "".join(self.grouped(self.argument()) for _ in range(ARGUMENTS[t]))
            elif t in ACCENTS or re.fullmatch(r"\\?[A-Za-z]+", t):
                base = t + (self.argument() if t in ACCENTS else "")
                out += self.symbol(base, self.scripts())
            else:
                out += t
        return out

    def symbol(self, base, scripts):
        "A letter with its indices: marked as a whole, else as far as it is known."
        if key := self.known(spelled(base, scripts)):
            whole = base + "".join(sign + arg for sign, arg in scripts)
            return rf"\class{{{key}}}{{{whole}}}"
        # without what says "transposed" or "another of the same"
        plain = [
            (sign.strip(), re.sub(r"\\top|'|\+", "", arg))
            for sign, arg in scripts
            if sign.strip() != "'"
        ]
        parts = [plain, *([p] for p in plain), []]
        named = next((p for p in parts if self.known(spelled(base, p))), None)
        if named is not None:
            base = rf"\class{{{self.known(spelled(base, named))}}}{{{base}}}"

        def index(sign, arg):
            own = named and len(plain) > 1 and named == [(sign.strip(), arg)]
            return sign + (arg if own else self.index(arg))

        return base + "".join(index(*script) for script in scripts)

    def index(self, arg):
        "An index with its own symbols marked; words such as rec and pos are none."
        if re.search(r"(?<![A-Za-z\\])[A-Za-z]{2,}", arg):
            return arg
        return self.grouped(arg)

    def grouped(self, arg):
        "An argument with its symbols marked, in braces where it had none and now needs them."
        marked = Formula(arg, self.known).marked()
        return marked if marked == arg or arg.lstrip().startswith("{") else f"{{{marked}}}"
