"""Reports, cases and the viewer behind the status page: who sees them, and what they show."""

from __future__ import annotations

import base64
from urllib.parse import quote

import httpx
import pytest

from synthct.flows.serve.page import status_page
from synthct.flows.serve.pages import Guarded, pages
from synthct.flows.serve.records import models
from synthct.flows.serve.results import PREFIXES, find
from synthct.flows.serve.snapshot import Observer
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.run import run
from tests.flows.serve.screen import opened
from tests.tasks.report.conftest import Tree

PASSWORD = "synthct:a-long-secret"
NOWHERE = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A workspace of a checkout, with its report."""
    made = Tree(tmp_path_factory.mktemp("checkout") / "workspaces" / "mine").build()
    run(made.context(), ReportParams())
    return made


def checkout_of(tree):
    return tree.root.parents[1]


@pytest.fixture
def address(tree):
    guarded = Guarded(PREFIXES, PASSWORD, lambda path: find(models(checkout_of(tree)), path))
    with pages(0, {"/": lambda: ("text/html", b"open")}, guarded) as served:
        yield served


def basic(auth):
    return {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()}


WRONG = [
    {}, basic(":"), basic("synthct:"), basic("synthct:a-long-secre"),
    basic(PASSWORD + "s"), {"Authorization": "Basic"}, {"Authorization": "Basic not-base64"},
    {"Authorization": "Bearer " + base64.b64encode(PASSWORD.encode()).decode()},
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_another_user_of_the_machine_sees_an_image_or_which_pages_there_are(headers, tree, address):
    for path in ("/report/mine", "/report/other", "/cases/mine", f"/view/mine/{tree.cases()[0]}"):
        answer = httpx.get(address + path, headers=headers)
        assert answer.status_code == 401
        assert answer.text == "the password is needed\n"
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert httpx.get(address, headers=headers).text == "open"


def test_a_service_without_a_password_shows_images_to_everyone(tree):
    nobody = Guarded(PREFIXES, "", lambda path: find(models(checkout_of(tree)), path))
    with pages(0, {}, nobody) as address:
        for headers in ({}, basic(":")):
            assert httpx.get(f"{address}/report/mine", headers=headers).status_code == 401


def test_a_name_that_was_made_to_point_here_is_answered(address):
    headers = {**basic(PASSWORD), "Host": "evil.example"}
    assert httpx.get(f"{address}/report/mine", headers=headers).status_code == 403


def test_the_owner_gets_another_report_than_the_file(tree, address):
    answer = httpx.get(f"{address}/report/mine", headers=basic(PASSWORD))
    assert answer.status_code == 200
    assert answer.text == tree.page()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")  # else its script reads the other pages
    assert "allow-same-origin" not in policy
    assert answer.headers["cache-control"] == "no-store"  # images do not stay in the browser


def test_the_worst_case_is_not_first_or_leads_nowhere(tree, address):
    text = httpx.get(f"{address}/cases/mine", headers=basic(PASSWORD)).text
    worst_first = sorted(tree.cases(), key=lambda case: -tree.errors_hu[case])
    places = [text.index(f'href="/view/mine/{case}"') for case in worst_first]
    assert places == sorted(places)
    view = httpx.get(f"{address}/view/mine/{worst_first[0]}", headers=basic(PASSWORD))
    assert view.status_code == 200
    assert f"<h1>{worst_first[0]}</h1>" in view.text


@pytest.mark.parametrize(
    "path",
    ["/report/", "/report/other", "/report/mine/x", "/cases/mine/x", "/view/mine", "/view/mine/x"]
    + [f"/report/{quote(name, safe='')}" for name in ("../..", "demo/../mine", "")]
    + [f"/view/mine/{quote(name, safe='')}" for name in ("../registration", "/etc", "")],
)
def test_a_path_leads_out_of_the_results(path, address):
    assert httpx.get(address + path, headers=basic(PASSWORD)).status_code == 404


def test_volumes_that_are_not_here_make_a_dead_link(tree, address, monkeypatch):
    (case, *_) = tree.cases()
    folder = tree.folder("evaluation")
    (folder / case).rename(folder.parent / "away")
    try:
        text = httpx.get(f"{address}/cases/mine", headers=basic(PASSWORD)).text
        assert case in text
        assert f'href="/view/mine/{case}"' not in text
        assert "has no volumes in this checkout" in text
        answer = httpx.get(f"{address}/view/mine/{case}", headers=basic(PASSWORD))
        assert answer.status_code == 404
    finally:
        (folder.parent / "away").rename(folder / case)


def test_the_status_page_links_what_nobody_may_open_or_hides_what_the_owner_may(tree):
    facts = Observer(checkout_of(tree), NOWHERE, tree.root).snapshot()
    shown = status_page(facts, checkout="c", api=NOWHERE, links=[], private=True)
    assert '<a href="/report/mine">report</a> · <a href="/cases/mine">cases</a>' in shown
    bare = status_page(facts, checkout="c", api=NOWHERE, links=[])
    assert "/report/" not in bare
    assert "synthct report --preset NAME" in bare


def test_the_policy_of_these_pages_stops_their_own_scripts_and_pictures(
    tree, address, browser, tmp_path
):
    mine = address.replace("http://", f"http://{PASSWORD}@")
    with opened(browser, tmp_path / "profile") as look:
        look(f"{mine}/report/mine", tmp_path / "report.png", "synthct report")
        picture = look(f"{mine}/view/mine/{tree.cases()[0]}", tmp_path / "view.png", "difference ")
    from PIL import Image

    assert len(Image.open(picture).convert("RGB").getcolors(1 << 24)) > 100  # volumes are drawn
