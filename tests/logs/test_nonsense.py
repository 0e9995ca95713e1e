"""Nonsense is refused in one line that says where, what and what to do."""

import polars as pl
import pytest

from critbatch.logs import read_log

from .reading import read_text

HEAD = "batch_size,lr,seed,steps\n16,0.1,0,100\n"
REFUSED = {
    "an empty file": ("", "The file is empty"),
    "white space": (" \n\n ", "The file is empty"),
    "a header alone": ("batch_size,steps\n", r"names of columns \('batch_size', 'steps'\) but no rows"),
    "prose": ("We trained, and it worked.\nThen we stopped.\n", "no column of"),
    "numbers alone": ("16,100\n32,60\n", r"Line 1 should hold the names of the columns, but has 16, 100"),
    "no batch size": ("lr,steps\n0.1,100\n", r"no column of the batch size. Name it with --column batch_size=NAME.*'lr'"),
    "no steps": ("batch_size,lr\n16,0.1\n", "no column of steps, examples or epochs to target"),
    "a negative step": (HEAD + "16,0.1,1,-5\n", "Column 'steps' has '-5' in line 3: must be above 0"),
    "no step at all": (HEAD + "16,0.1,1,0\n", "must be above 0"),
    "batch size 0": (HEAD + "0,0.1,1,5\n", "Column 'batch_size' has '0' in line 3: a batch size is above 0"),
    "a broken batch size": (HEAD + "12.5,0.1,1,5\n", "'12.5' in line 3: a batch size is a whole number"),
    "a blank batch size": (HEAD + ",0.1,1,5\n,0.1,2,5\n", "lines 3 and 4: every row needs its batch size"),
    "a batch size in words": (HEAD + "small,0.1,1,5\n", "Column 'batch_size' has 'small' in line 3: not a number"),
    "a batch size in k": (HEAD + "1k,0.1,1,5\n", "'1k' in line 3: not a number"),
    "a batch size of NaN": (HEAD + "nan,0.1,1,5\n", "a batch size is above 0"),
    "a learning rate of 0": (HEAD + "16,0,1,5\n", "a learning rate is above 0"),
    "a word for steps": (HEAD + "16,0.1,1,many\n", "Column 'steps' has 'many' in line 3: not a number.*are read"),
    "NaN steps": (HEAD + "16,0.1,1,nan\n", "its last step is not known. Write the last step as '>5000'"),
    "blank steps": (HEAD + "16,0.1,1,\n16,0.1,2,NA\n", "has None, 'NA' in lines 3 and 4: the run did not reach"),
    "less than": (HEAD + "16,0.1,1,<50\n", "'<50' in line 3: not a number"),
    "percent of steps": (HEAD + "16,0.1,1,50%\n", "'50%' in line 3: not a number"),
    "the same run twice": (HEAD + "16,0.1,0,90\n", "Lines 2 and 3 are the same run: batch size 16, learning rate 0.1, seed 0"),
    "a name twice": ("bs,steps,steps\n1,2,3\n", "Two columns are called 'steps'"),
    "two batch sizes": ("bs,batch_size,steps\n1,2,3\n", "'bs', 'batch_size' may each be the batch size. Choose with --column"),
    "a longer row": (HEAD + "16,0.1,0,1,500\n", "Line 3 has 5 cells under 4 names"),
    "mixed suffixes": ("bs,steps\n16,5k\n32,700\n", "'5k' in line 2: the other rows have no such unit"),
    "mixed decimals": ("bs;lr;steps\n1;0,5;1\n1;0,2;2\n1;0.5;3\n", "'0.5' in line 4: a decimal point where the file has"),
    "decimals or thousands": ("bs;steps\n16;1.500\n", "a decimal or a separator of thousands"),
    "an unknown unit": ("bs,steps (log10)\n16,3\n", "its unit 'log10' says otherwise or is not known"),
    "the unit of another": ("bs,steps (epochs)\n16,3\n", "its unit 'epochs' says otherwise"),
    "steps against examples": ("bs,steps,examples\n16,100,5000\n", "not the steps .* times the batch size"),
    "epochs of unknown length": ("bs,epochs\n16,3\n", "Give it: --train-size N"),
    "batch sizes in thousands": ("batch size (k),steps\n16,5\n", "Column 'batch size .k.' is in units of 'k'"),
    "learning rates in thousandths": ("bs,lr (1e-3),steps\n16,1,5\n", "'lr .1e-3.' is in units of '1e-3'"),
    "seeds all blank": ("bs,seed 1,seed 2\n16,,\n", "All cells of 'seed 1', 'seed 2' are blank"),
    "reached and not": ("bs,steps,reached\n16,>500,yes\n", "says both that the run reached the target and that it did not"),
    "two opinions": ("bs,steps,reached,censored\n16,50,yes,yes\n", "says both"),
    "reached without steps": ("bs,steps,reached\n16,,yes\n16,9,yes\n", "or gives no number"),
    "maybe reached": ("bs,steps,reached\n16,50,maybe\n", "'maybe' in line 2: neither true nor false"),
    "a crash": ("bs,steps,status\n16,50,crashed\n", "'crashed' in line 2: an ending that tells nothing of the target"),
    "beyond its maximum": ("bs,steps,max_steps\n16,50,40\n", "more than the most steps that the run could take"),
    "a mean alone": ("bs,mean\n16,50\n", "need two more columns: their standard deviation"),
    "a mean without count": ("bs,mean,sd\n16,50,3\n", r"how many runs \(--column count=NAME\)"),
    "a negative spread": ("bs,mean,sd,n\n16,50,-3,2\n", "a spread is at least 0"),
    "a missing spread": ("bs,mean,sd,n\n16,50,,2\n32,50,1,2\n", "a mean of several runs needs its spread"),
    "half a run": ("bs,mean,sd,n\n16,50,3,1.5\n", "a count of runs is a whole number"),
    "a mean of no number": ("bs,mean,sd,n\n16,NA,3,2\n", "Give one row a run instead"),
    "a mean twice": ("bs,mean,sd,n\n16,50,3,2\n16,51,3,2\n", "a batch size and learning rate twice"),
    "two metrics": ("bs,step,acc,loss\n8,1,.1,2\n8,2,.2,3\n", "'acc', 'loss' may each be the metric. Choose with --column metric"),
    "no metric": ("bs,step,note\n8,1,a\n8,2,b\n", "There is no metric. .* The columns left are: 'note'"),
    "a step twice": ("bs,step,acc\n8,1,.1\n8,1,.2\n", "a step twice in one run. Name what tells the runs apart"),
    "a look before the start": ("bs,step,acc\n8,-1,.1\n8,2,.2\n", "a look needs its step, at least 0"),
    "mixed percent": ("bs,step,acc\n8,1,50%\n8,2,0.6\n", "no percent sign, which other rows have"),
    "seeds of two quantities": ("bs,epochs seed1,steps seed2\n8,1,5\n", "of different quantities"),
    "binary": (b"\x00\x01\x02" * 40, "neither text nor Parquet"),
    "a spreadsheet": (b"PK\x03\x04rest", "a spreadsheet or archive. Save the sheet as CSV"),
    "broken Parquet": (b"PAR1 and no more", "begins like Parquet but cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read_text(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(repr(str(tmp_path / "log.csv")))


JSON_REFUSED = {
    "a broken line": ('{"bs": 1, "steps": 2}\n{"bs": 1,\n', "Line 2 is no JSON"),
    "a list of numbers": ("[1, 2]", "Row 1 is no object"),
    "an empty list": ("[]", "Row 1 is no object"),
    "one object": ('{"a": 1}', "no column of"),
    "nested steps": ('{"bs": 1, "steps": [1, 2]}', "'\\[1, 2\\]' in row 1"),
}


@pytest.mark.parametrize(("text", "message"), JSON_REFUSED.values(), ids=JSON_REFUSED)
def test_json_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, text, "log.jsonl")


def test_the_same_run_twice_names_what_differs(tmp_path):
    with pytest.raises(ValueError, match=r"They differ in 'optimizer': keep the rows of one"):
        read_text(tmp_path, "bs,seed,optimizer,steps\n1,0,sgd,5\n1,0,adam,6\n")


OPTIONS = {
    "no such role": ({"columns": {"size": "bs"}}, "there is no role 'size'. There are: batch_size"),
    "no such column": (
        {"columns": {"seed": "x"}},
        "--column seed=x: there is no column 'x'. There are: 'bs', 'epochs'",
    ),
    "no such kind": ({"kind": "run"}, "--kind run: there is no such kind"),
    "no examples": ({"train_size": 0}, "--train-size 0: must be at least 1"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=OPTIONS)
def test_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, "bs,epochs\n1,2\n", **options)


def test_wrong_types_of_parquet_are_refused(tmp_path):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"bs": [True, False], "steps": [1, 2]}).write_parquet(path)
    with pytest.raises(ValueError, match=r"Column 'bs' has True, False in rows 1 and 2: not numbers"):
        read_log(path)
    pl.DataFrame({"bs": [1, 2], "steps": [[1], [2]]}).write_parquet(path)
    with pytest.raises(ValueError, match=r"Column 'steps' has \[1\], \[2\] in rows 1 and 2: not numbers"):
        read_log(path)


def test_missing_files_and_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        read_log(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="The folder holds no runs of TensorBoard"):
        read_log(tmp_path)
    with pytest.raises(ValueError, match="no database of MLflow"):
        read_text(tmp_path, b"SQLite format 3\0" + b"\0" * 600, "x.db")


def test_many_places_are_counted(tmp_path):
    rows = "".join(f"16,{-step}\n" for step in range(1, 12))
    with pytest.raises(ValueError, match=r"lines 2, 3, 4, 5, 6, 7 and 5 more: must be above 0"):
        read_text(tmp_path, "bs,steps\n" + rows)
