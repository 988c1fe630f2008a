"Many runs: specifications, seeds; comparisons come here."
