// For the scripts of pages (`make lint`, where there is npm): what is wrong in them, and nothing of taste.
const names = [
  ...["HTMLDetailsElement", "IntersectionObserver", "URLSearchParams", "addEventListener", "document", "history"],
  ...["location", "setTimeout"],
];

export default [
  {
    files: ["harness/refine_eval/results/pages/*.js"],
    languageOptions: {
      ecmaVersion: 2023,
      sourceType: "script",
      globals: Object.fromEntries(names.map((name) => [name, "readonly"])),
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error",
      "eqeqeq": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-redeclare": "error",
      "no-shadow": "error",
      "no-undef": "error",
      "no-unreachable": "error",
      "no-unused-vars": "error",
      "no-use-before-define": ["error", { functions: false, variables: false }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
];
