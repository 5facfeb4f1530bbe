"""Programs kept on disk: shared by processes, refused from strangers, compiled anew if damaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmmlite_jax import compilation_cache
from lmmlite_jax.compilation_cache import kept_programs, machine_name, prune, remove_unsound

# Three programs of a process that says what they gave, and how many it found.
CODE = """
import sys
from lmmlite_jax.compilation_cache import kept_programs
with kept_programs(*map(eval, sys.argv[1:]), print):
    import jax, jax.numpy as jnp
    hits = []
    listen = lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None
    jax.monitoring.register_event_listener(listen)
    found = [jax.jit(lambda x, k=k: jnp.cumsum(x) ** k)(jnp.arange(5.0)) for k in (1, 2, 3)]
    print([one[-1].item() for one in found], len(hits), jax.config.jax_compilation_cache_dir)
"""
RESULTS = [10.0, 100.0, 1000.0]


def start(where, **environment):
    command = [sys.executable, "-c", CODE, repr(where)]
    without = {name: x for name, x in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    return subprocess.Popen(
        command,
        env=without | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    *said, last = stdout.splitlines()
    results, _, rest = last.partition("] ")
    hits, _, folder = rest.partition(" ")
    assert [float(x) for x in results[1:].split(",")] == RESULTS
    return int(hits), folder, said


def programs(root):
    return sorted(root.glob("*/jit*-cache"))


def test_a_later_process_compiles_nothing_and_a_damaged_entry_is_compiled_again(tmp_path):
    root = tmp_path / "programs"
    assert finish(start(str(root)))[0] == 0
    entries = programs(root)
    hits, folder, _ = finish(start(str(root)))
    assert hits == len(entries) >= 3
    assert Path(folder) == root / machine_name()
    assert root.stat().st_mode & 0o77 == 0
    whole = {entry: entry.read_bytes() for entry in entries}
    shortened, random, flipped, *others = entries
    shortened.write_bytes(whole[shortened][:-20])
    random.write_bytes(os.urandom(3000))
    flipped.write_bytes(whole[flipped][:200] + b"\x55" + whole[flipped][201:])
    assert finish(start(str(root)))[0] == len(others)
    assert finish(start(str(root)))[0] == len(entries)


def test_processes_share_a_folder_while_they_fill_it(tmp_path):
    both = [start(str(tmp_path)) for _ in range(2)]
    for process in both:
        finish(process)
    assert finish(start(str(tmp_path)))[0] == len(programs(tmp_path))


def test_a_cache_that_the_user_has_set_for_jax_stays(tmp_path):
    process = start(None, JAX_COMPILATION_CACHE_DIR=str(tmp_path), XDG_CACHE_HOME="/none")
    assert finish(process)[1:] == (str(tmp_path), [])


@pytest.mark.skipif(sys.platform != "linux", reason="XDG's variable")
def test_the_default_is_the_platforms_folder_and_none_where_that_cannot_be_used(tmp_path):
    hits, folder, said = finish(start(None, XDG_CACHE_HOME=str(tmp_path)))
    assert (hits, said) == (0, [])
    assert Path(folder).parent == tmp_path / "lmmlite-jax" / "programs"
    Path(folder).parent.chmod(0o777)
    _, folder, said = finish(start(None, XDG_CACHE_HOME=str(tmp_path)))
    assert folder == "None"
    assert len(said) == 1
    assert "others may write" in said[0]
    assert "compiled anew" in said[0]


def test_off_keeps_nothing(tmp_path):
    finish(start("off", JAX_COMPILATION_CACHE_DIR=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_the_library_itself_changes_no_setting():
    code = """
import jax
before = dict(jax.config.values)
import lmmlite_jax as lmm
lmm.calc_ll(0.5, [1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
assert jax.config.values == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(os.name == "nt", reason="permissions are lists there")
def test_a_folder_that_is_not_the_users_alone_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o770)
    with (
        pytest.raises(ValueError, match=r"others may write .*mode is 770.*another folder, or off"),
        kept_programs(str(tmp_path), print),
    ):
        pass
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with (
        pytest.raises(ValueError, match=r"belongs to another user.*another folder, or off"),
        kept_programs(str(tmp_path), print),
    ):
        pass


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match=r"file: no compilation cache .*another folder, or off"),
        kept_programs(str(tmp_path / "file"), print),
    ):
        pass


def test_another_processor_has_a_folder_of_its_own():
    cpuinfo = "model name\t: one\ncpu MHz\t: 2000\nflags\t: fpu avx\n\nmodel name\t: one\n"
    assert machine_name(cpuinfo) == machine_name(cpuinfo.replace("2000", "3000"))
    assert machine_name(cpuinfo) != machine_name(cpuinfo.replace("avx", "avx avx2"))
    assert machine_name() == machine_name()


def test_what_no_process_has_finished_is_removed_once_it_is_old(tmp_path):
    fresh, old = tmp_path / "jit_a-cache", tmp_path / "jit_b-cache"
    for entry in (fresh, old):
        entry.write_bytes(b"foreign")
    os.utime(old, (0, 0))
    remove_unsound(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]


def test_what_was_used_longest_ago_is_removed_beyond_the_most_bytes(tmp_path):
    folders = [tmp_path / name for name in (machine_name(), "aarch64-0123456789abcdef", "other")]
    for i, folder in enumerate(folders):
        folder.mkdir()
        for j in range(4):
            entry = folder / f"jit_{j}-cache"
            entry.write_bytes(bytes(100))
            os.utime(entry, (j, i))
    prune(tmp_path, 800)
    assert len(programs(tmp_path)) == 12
    prune(tmp_path, 799)
    left = {(path.parent.name, path.name) for path in programs(tmp_path)}
    assert len(left) == 9
    assert {name for folder, name in left if folder == "other"} == {
        f"jit_{j}-cache" for j in range(4)
    }
    assert (folders[1].name, "jit_3-cache") in left
    assert (folders[0].name, "jit_0-cache") not in left


def test_programs_count_towards_the_limit_where_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MOST_BYTES", 0)
    with kept_programs(str(tmp_path), print):
        import jax

        jax.jit(lambda x: x + 1.5)(1.0)
    assert programs(tmp_path) == []
