"""The page on fine-mapping: its code runs, and its figures are those of the validation."""

import json
import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "fine-mapping.md").read_text()


def test_the_code_finds_what_it_puts_in():
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    names = {}
    exec(compile(code, "fine-mapping.md", "exec"), names)
    members = names["members"].groupby(["phenotype_id", "cs_id"])["variant_id"].apply(set)
    near = [own for (gene, _), own in members.items() if gene == 1]
    assert any(20 in own <= {20, 22, 23} for own in near)
    assert {150} in near
    assert not names["genes"]["reason"].any()
    (h4,) = names["table"].loc[names["table"]["variant_id"] == 20, "pp_h4_abf"].tail(1)
    assert h4 > 0.9
    np.testing.assert_allclose(names["sets"]["coverage"] >= 0.95, True)


def test_the_table_is_that_of_the_validation():
    stored = json.loads((ROOT / "validations" / "results" / "fine_mapping.json").read_text())
    for label, name in (("with the kinship", "kinship"), ("as if unrelated", "unrelated")):
        row = stored[name]
        shares = row["coverage"], row["share_causal_of_pip_above_0.9"]
        cells = [f"{row['sets']:,}", *(f"{100 * share:.1f}%" for share in shares)]
        assert f"| {label} | {' | '.join(cells)} |" in PAGE
    assert stored["kinship"]["coverage"] >= stored["bound"]
