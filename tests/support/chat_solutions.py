"""Solutions in the form in which Qwen2.5 and its like write them in chats: written here, for invented questions."""

NUMBERED = r"""To find out how many apples Mia has left, we can follow these steps:

1. **Calculate the number of apples she buys**: Mia buys 4 bags with 12 apples each.
   \[
   4 \times 12 = 48
   \]

2. **Subtract the apples she gives away**: She gives 15 apples to her brother, i.e. a bit less than a third. So we have
   \[
   48 - 15 = 33
   \]

3. **Add what she finds**: She finds 3.5 pounds of apples, which are 7 apples:

   $$
   33 + 7 = 40
   $$

Therefore, Mia has \(\boxed{40}\) apples left.
"""

STEPS = r"""### Step 1: Identify what is given

Mr. Brown drives at 60 miles per hour. The trip takes 2.5 hours.

| leg | hours | miles |
|-----|-------|-------|
| 1.  | 1.5   | 90    |
| 2.  | 1.0   | 60    |

### Step 2: Multiply

1. The first leg is $60 \cdot 1.5 = 90$ miles.
2. The second leg is $60 \cdot 1 = 60$ miles.

**Step 3: Add up**
\begin{align*}
90 + 60 &= 150 \\[4pt]

150 &= 150
\end{align*}

The answer is $\boxed{150}$.
"""

CODE = """Let's break it down step by step. We can check it with a short program:

```python
def apples(bags):
    total = bags * 12

    # 1. Take away what was given.
    return total - 15


print(apples(4))
```

```output
33
```

The program prints 33. Is that right? Yes! "It is." So 33 apples are left.

#### 33"""

COLONS = """Step 1: Tom has 23 apples and buys 5 more. 23 + 5 = 28 apples.
Step 2: He now has 3 times as many. 28 * 3 = 84 apples.
Step 3: He gives half away.
        84 / 2 = 42 apples.
Final answer: 42"""

PROSE = """First, Ana reads 20 pages a day, e.g. in the evening. In 7 days she reads 7 * 20 = 140 pages.
The book has 300 pages, so 300 - 140 = 160 pages are left.

- At 32 pages a day this takes 160 / 32 = 5 days.
- That is less than a week.

She needs 5 more days. (That is all.)  The answer is 5.  """

CUT_OFF = r"""1. Compute the total:
   \[
   12 + 30 = 42

2. Then run this:

```python
x = 42

print(x"""

ALL = {
    "numbered": NUMBERED,
    "steps": STEPS,
    "code": CODE,
    "colons": COLONS,
    "prose": PROSE,
    "cut off": CUT_OFF,
    "windows": NUMBERED.replace("\n", "\r\n"),
}
