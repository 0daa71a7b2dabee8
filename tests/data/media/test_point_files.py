"""Point clouds as scanners, spreadsheets and array libraries write them: read rightly, or refused in a sentence."""

import struct
from functools import partial

import numpy as np
import pytest

from data.media import loading
from data.media.decoding_pool import decode_in_pool
from data.media.loading import Limits
from tests.data.media import sample_files

load_medium = partial(loading.load_medium, decode=decode_in_pool)
refusal = partial(sample_files.refusal, decode=decode_in_pool)
POINTS = np.array([[1.0, 2.0, 3.0], [-1.5, 0.0, 4.25], [0.5, 0.25, 9.0]], np.float32)


def of(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3\n-1.5 0 4.25\n0.5 0.25 9\n",
        "1, 2, 3\n-1.5, 0, 4.25\n0.5, 0.25, 9\n",
        "1\t2\t3\n-1.5\t0\t4.25\n0.5\t0.25\t9\n",
        "1;2;3\n-1.5;0;4.25\n0.5;0.25;9\n",
        '"x","y","z"\n"1","2","3"\n"-1.5","0","4.25"\n"0.5","0.25","9"\n',
        "x;y;z\n1,0;2,0;3\n-1,5;0;4,25\n0,5;0,25;9,0\n",
        '"1,0","2","3"\n"-1,5","0","4,25"\n"0,5","0,25","9"\n',
        "1,0 2,0 3,0\n-1,5 0,0 4,25\n0,5 0,25 9,0\n",
        "1,0\t2\t3\n-1,5\t0\t4,25\n0,5\t0,25\t9\n",
        ",x,y,z\n0,1,2,3\n1,-1.5,0,4.25\n2,0.5,0.25,9\n",
        "Index,Z,Y,X,label\n0,3,2,1,tree\n1,4.25,0,-1.5,tree\n2,9,0.25,0.5,house\n",
        '"x" "y" "z"\n"1" 1 2 3\n"2" -1.5 0 4.25\n"3" 0.5 0.25 9\n',
        "//X Y Z R\n1 2 3 255\n-1.5 0 4.25 255\n0.5 0.25 9 0\n",
        "# id x y z\n# made here\n0 1 2 3\n1 -1.5 0 4.25\n2 0.5 0.25 9\n",
        "\n1 2 3 7 7\n\n-1.5 0 4.25 7 7\n.5 2.5e-1 9. 7 7\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables(tmp_path, text, encoding):
    for end in ("\n", "\r\n"):
        medium = load_medium(of(tmp_path / "a.csv", text.replace("\n", end).encode(encoding)))
        assert np.array_equal(medium.array, POINTS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0,1,2,3\n1,-1.5,0,4\n2,0.5,0.25,9\n", "a first column that counts the rows"),
        ("1 5 5 5\n2 5 5 5\n3 5 5 5\n", "a first column that counts the rows"),
        ("lon,lat,height\n1,2,3\n", "x, y and z are not among its columns lon, lat, height"),
        ("x,y,z\n1,5,2,7,3,1\n", "its rows have 6 columns, and its header has 3"),
        ("1,2,3\n1,2,3,4\n", "row 2 has 4 columns, and the first has 3"),
        ("1,2\n", "row 1 has 2 columns instead of x, y and z"),
        ("1.234,5;2;3\n4;5;6\n", "is not a point cloud"),
        ("1 2 3\n4 5 six\n", "is not a point cloud"),
        ("nan 2 3\n", "not finite numbers"),
        ("# nothing\n", "holds no points"),
        ("some words\n", "x, y and z are not among"),
    ],
)
def test_tables_that_are_no_point_clouds(tmp_path, text, sentence):
    assert sentence in refusal(of(tmp_path / "a.csv", text.encode()))


@pytest.mark.parametrize("shape", [(3, 500), (6, 500), (16, 500)])
def test_arrays_with_the_axes_first_are_turned_round(tmp_path, shape):
    array = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.asfortranarray(array.T.astype("<f2")))
    np.testing.assert_allclose(load_medium(tmp_path / "a.npy").array, array[:3].T, rtol=1e-6)
    np.testing.assert_allclose(load_medium(tmp_path / "b.npy").array, array[:3].T, atol=1e-3)


@pytest.mark.parametrize("shape", [(500, 500), (2, 500), (500, 2), (500,), (2, 3, 4), (17, 17)])
def test_arrays_that_are_no_point_clouds(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape))
    assert "of no known medium" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.ones((3, 500)))
    assert "more than the 100 allowed" in refusal(tmp_path / "a.npy", Limits(points=100))


def test_numbers_beyond_single_precision_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.full((5, 3), 1e300))
    assert "not finite numbers" in refusal(tmp_path / "a.npy")
    assert "not finite numbers" in refusal(of(tmp_path / "a.xyz", b"1e300 2 3\n"))


XYZ = "property float x\nproperty float y\nproperty float z\n"
FACES = "element face 2\nproperty list uchar int vertex_indices\nproperty uchar flag\n"
VERTICES = f"element vertex 3\n{XYZ}"


def ply(form, *elements, end="\n"):
    header = f"ply\nformat {form} 1.0\ncomment Größe 測試 °C\nobj_info made here\n{''.join(elements)}end_header\n"
    return header.replace("\n", end).encode()


ASCII_FACES, ASCII_POINTS = b"3 0 1 2 7\n4 0 1 2 0 7\n", b"1 2 3\n-1.5 0 4.25\n\n0.5 0.25 9\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ascii_ply_with_its_elements_in_any_order(tmp_path, end):
    for content in (
        ply("ascii", VERTICES, FACES, end=end) + ASCII_POINTS + ASCII_FACES,
        ply("ascii", FACES, VERTICES, end=end) + ASCII_FACES + ASCII_POINTS,
        ply("ascii", "element camera 0\n", "element empty 5\n", FACES, VERTICES, end=end) + ASCII_FACES + ASCII_POINTS,
        ply("ascii", VERTICES + "property list uchar short seen\n", end=end)
        + b"1 2 3 0\n-1.5 0 4.25 2 8 9\n0.5 0.25 9 1 4\n",
    ):
        assert np.array_equal(load_medium(of(tmp_path / "a.ply", content)).array, POINTS)


@pytest.mark.parametrize(("form", "order"), [("binary_little_endian", "<"), ("binary_big_endian", ">")])
def test_binary_ply_with_lists(tmp_path, form, order):
    faces = struct.pack(order + "B3iBB4iB", 3, 0, 1, 2, 7, 4, 0, 1, 2, 0, 7)
    points = struct.pack(order + "9f", *POINTS.ravel())
    seen = [struct.pack(f"{order}fH{n}hff", x, n, *range(n), y, z) for n, (x, y, z) in enumerate(POINTS)]
    listed = VERTICES.replace("float x\n", "float x\nproperty list ushort short seen\n")
    swapped = (
        "element vertex 3\nproperty double z\nproperty uchar red\nproperty float x\nproperty int8 a\nproperty float y\n"
    )
    odd = b"".join(struct.pack(order + "dBfbf", z, 1, x, -1, y) for x, y, z in POINTS)
    for content in (
        ply(form, VERTICES, FACES) + points + faces,
        ply(form, FACES, VERTICES) + faces + points,
        ply(form, FACES, listed) + faces + b"".join(seen),
        ply(form, "element camera 2\nproperty double a\n", swapped) + bytes(16) + odd,
    ):
        assert np.array_equal(load_medium(of(tmp_path / "a.ply", content)).array, POINTS)
        if content.endswith(points):
            assert "is truncated: 2 of 3 rows of vertex" in refusal(of(tmp_path / "b.ply", content[:-1]))
    assert "is truncated: 0 of 9 rows of face" in refusal(
        of(tmp_path / "c.ply", ply(form, FACES.replace("2", "9", 1), VERTICES) + b"\xff" + points)
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (ply("ascii", FACES) + ASCII_FACES, "holds no vertices with x, y and z"),
        (
            ply("ascii", "element vertex 1\nproperty list uchar float x\n" + XYZ[17:]),
            "holds no vertices with x, y and z",
        ),
        (ply("ascii", VERTICES.replace("float y", "quaternion y")), "a property of the unknown type 'quaternion'"),
        (ply("ascii", VERTICES.replace("3", "-3")), "states -3 rows of vertex"),
        (ply("ascii", VERTICES.replace("3", "3000000")), "more than the 1,000,000 allowed"),
        (ply("ascii", FACES.replace("2", "999999999999", 1), VERTICES) + ASCII_FACES, "truncated"),
        (ply("text", VERTICES), "the unknown format 'text'"),
        (b"ply\n" + b"comment\n" * 2000, "a PLY header without an end"),
        (ply("ascii", VERTICES) + b"1 2 3\n1 2\n", "is truncated: 1 of 3 rows of vertex"),
        (ply("ascii", VERTICES) + b"1 2 3\n1 2 three\n1 2 3\n", "could not convert"),
    ],
)
def test_ply_that_is_refused(tmp_path, content, sentence):
    assert sentence in refusal(of(tmp_path / "a.ply", content))
