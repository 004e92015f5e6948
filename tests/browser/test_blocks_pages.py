"""Blocks: the catalogue of types, made and changed by forms, secrets that are never shown."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from api.ui.block import REFERRING_SHOWN
from tests.browser.conftest import (
    Visit,
    assert_accessible,
    assert_live,
    assert_whole,
)
from tests.browser.looks import assert_each_can_be_used, in_every_look
from tests.browser.making_blocks import Blocks

SECRET, TOKEN = "correct-horse-battery", "tok-4711"


@pytest.fixture
def blocks(server_url: str) -> Blocks:
    """Makes blocks on this test's server."""
    return Blocks(server_url)


def _stored(url: str, id_: str, secrets: bool = True) -> dict[str, Any]:
    query = {"include_secrets": str(secrets).lower()}
    found: dict[str, Any] = httpx.get(f"{url}/block_documents/{id_}", params=query).json()
    return found


def _account(blocks: Blocks, schema: dict[str, Any]) -> str:
    data = {"user": "anna", "password": SECRET, "token": TOKEN, "retries": 5}
    return blocks.save(schema, "main", data)


def _reference(id_: str) -> dict[str, Any]:
    return {"$ref": {"block_document_id": id_}}


@in_every_look
def test_every_page_is_accessible_and_fits(
    server_url: str, blocks: Blocks, visit: Visit, width: int
) -> None:
    schemas = blocks.registered()
    account = _account(blocks, schemas["account"])
    data = {"bucket_name": "lake", "credentials": _reference(account), "where": 7}
    bucket = blocks.save(schemas["bucket"], "a-bucket-with-a-very-long-name-eu-central-1", data)
    page = visit(server_url, "blocks", width=width)
    paths = ["blocks", "blocks/catalog", "blocks/catalog/account", "blocks/catalog/keyring"]
    paths += ["blocks/catalog/bucket/create", f"blocks/block/{account}", f"blocks/block/{bucket}"]
    paths += [f"blocks/block/{account}/edit", f"blocks/block/{bucket}/edit", "blocks?q=none"]
    assert_each_can_be_used(page, server_url, paths)


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url)
    page.keyboard.press("g")
    page.keyboard.press("b")
    expect(page).to_have_url(re.compile("blocks$"))
    expect(page.get_by_text("prefect block register -m prefect_aws")).to_be_visible()
    assert_accessible(page)


def test_types_are_found_by_name_and_by_what_their_blocks_can_do_and_followed(
    server_url: str, blocks: Blocks, visit: Visit
) -> None:
    page = visit(server_url, "blocks/catalog")
    blocks.registered()
    names = page.locator("#catalogue h2 a")
    for name in ("Account", "Keyring", "Bucket"):
        expect(names.filter(has_text=name)).to_be_visible()
    page.reload()
    page.get_by_label("Capability").select_option("read-path")
    expect(names.filter(has_text="Bucket")).to_be_visible()
    expect(names.filter(has_text="Account")).to_have_count(0)
    page.get_by_label("Capability").select_option("")
    page.get_by_label("Name contains").fill("accOU")
    expect(names.filter(has_text="Bucket")).to_have_count(0)
    page.get_by_role("link", name="Account", exact=True).click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    expect(page.get_by_text('Account.load("BLOCK_NAME")')).to_be_visible()
    expect(page.locator(".prose strong")).to_have_text("buckets")


def test_a_block_is_saved_by_a_form_with_another_block_in_it(
    server_url: str, blocks: Blocks, visit: Visit
) -> None:
    account = _account(blocks, blocks.registered()["account"])
    page = visit(server_url, "blocks/catalog/bucket")
    page.get_by_role("link", name="New block").click()
    assert_live(page)
    page.get_by_role("button", name="Save block").click()
    expect(page.locator("#name-wrong")).to_contain_text("small letters, digits and dashes")
    expect(page.locator("#block-credentials-wrong")).to_contain_text("choose a block")
    expect(page.locator("[data-wrong='value/bucket_name']")).to_contain_text("required")
    page.locator("#name").fill("lake")
    page.get_by_label("Credentials").select_option(label="main")
    page.get_by_label("Bucket name").fill("s3-lake")
    page.get_by_role("radiogroup", name="Kind of Where").get_by_text("Number").click()
    page.locator("[name='value/where|1']").fill("7")
    page.locator("[name='value/labels~given']").check()
    page.get_by_role("button", name="Add to Labels").click()
    page.get_by_label("Name", exact=True).last.fill("team")
    page.get_by_label("Value", exact=True).last.fill("data")
    page.get_by_role("button", name="Save block").click()
    expect(page).to_have_url(re.compile("blocks/block/[0-9a-f-]+$"))
    expect(page.locator(".toast")).to_contain_text("Saved the Bucket block lake.")
    expect(page.get_by_text('Block.load("bucket/lake")')).to_be_visible()
    stored = _stored(server_url, page.url.rpartition("/")[2])
    assert stored["data"] == {
        "bucket_name": "s3-lake",
        "where": 7,
        "labels": {"team": "data"},
        "credentials": {"user": "anna", "password": SECRET, "token": TOKEN, "retries": 5},
    }
    expect(page.get_by_label("Values")).to_contain_text(re.compile("main.*Account", re.DOTALL))
    page.get_by_role("link", name="main", exact=True).click()
    expect(page.get_by_label("Used by")).to_contain_text("lake")
    page.goto(f"{server_url.removesuffix('api')}blocks/catalog/bucket/create")
    page.locator("#name").fill("lake")
    page.get_by_label("Credentials").select_option(account)
    page.get_by_label("Bucket name").fill("other")
    page.get_by_role("button", name="Save block").click()
    expect(page.locator("#name-wrong")).to_contain_text("There is a block of this type with this")


def test_secrets_are_never_shown_and_stay_unless_they_are_typed_anew(
    server_url: str, blocks: Blocks, visit: Visit
) -> None:
    id_ = _account(blocks, blocks.registered()["account"])
    page = visit(server_url, f"blocks/block/{id_}")
    expect(page.get_by_text("a secret that is not shown")).to_have_count(2)
    assert SECRET not in page.content()
    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Password")).to_have_value("")
    assert SECRET not in page.content()
    assert_live(page)
    page.get_by_label("User").fill("tom")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Saved the block main.")
    stored = _stored(server_url, id_)["data"]
    assert stored == {"user": "tom", "password": SECRET, "token": TOKEN, "retries": 5}
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Password").fill("another-secret")
    page.get_by_label("Remove it").check()
    page.get_by_text("JSON", exact=True).click()
    expect(page.get_by_label("Everything as JSON")).to_have_value(re.compile("another-secret"))
    page.get_by_text("Fields", exact=True).click()
    expect(page.get_by_label("Password")).to_have_value("another-secret")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile(f"{id_}$"))
    stored = _stored(server_url, id_)["data"]
    assert (stored["password"], stored.get("token")) == ("another-secret", None)


def test_blocks_are_found_followed_and_deleted_after_a_question(
    server_url: str, blocks: Blocks, visit: Visit
) -> None:
    schemas = blocks.registered()
    account = _account(blocks, schemas["account"])
    page = visit(server_url, "blocks")
    other = visit(server_url, f"blocks/block/{account}", expected="404")
    rows = page.locator("#blocks td.main-cell a")
    expect(rows).to_have_text(["main"])
    data = {"bucket_name": "lake", "credentials": _reference(account)}
    blocks.save(schemas["bucket"], "lake", data)
    expect(rows).to_have_text(["lake", "main"])
    page.get_by_label("Name contains").fill("LAK")
    expect(rows).to_have_text(["lake"])
    page.get_by_label("Name contains").fill("")
    # Whoever chooses has the focus there, and what has it is left as it is; Playwright has not.
    expect(rows).to_have_text(["lake", "main"])
    page.get_by_label("Capability").select_option("log-in")
    expect(rows).to_have_text(["main"])
    page.get_by_role("button", name="Delete main…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(
        "the Account block main with its secret values"
    )
    expect(dialog).to_contain_text("Other blocks refer to it: Bucket lake.")
    assert_accessible(page)
    dialog.get_by_role("button", name="Delete the block").click()
    expect(page.get_by_role("heading", name="No block is like that")).to_be_visible()
    expect(other.get_by_role("heading", name="This block was deleted")).to_be_visible()
    assert httpx.get(f"{server_url}/block_documents/{account}").status_code == 404


def test_all_blocks_that_use_another_are_counted_and_found(
    server_url: str, blocks: Blocks, visit: Visit
) -> None:
    schemas = blocks.registered()
    account = _account(blocks, schemas["account"])
    for at in range(REFERRING_SHOWN + 2):
        data = {"bucket_name": "b", "credentials": _reference(account)}
        blocks.save(schemas["bucket"], f"pond-{at:02}", data)
    page = visit(server_url, f"blocks/block/{account}")
    used = page.get_by_role("region", name="Used by")
    expect(used.get_by_role("listitem")).to_have_count(REFERRING_SHOWN)
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(
        "Other blocks refer to it: Bucket pond-00, Bucket pond-01, Bucket pond-02 and 49 more;"
    )
    dialog.get_by_role("button", name="Cancel").click()
    assert_whole(page)
    used.get_by_role("link", name="All 52 blocks that use it").click()
    expect(page.get_by_text("52 blocks", exact=True)).to_be_visible()
    page.get_by_label("Name contains").fill("pond-5")
    expect(page.locator("#blocks td.main-cell a")).to_have_text(["pond-50", "pond-51"])
    assert_whole(page)
    page.get_by_role("link", name="Remove the filter uses main").click()
    page.get_by_label("Name contains").fill("")
    expect(page.get_by_text("53 blocks", exact=True)).to_be_visible()


def test_a_type_is_deleted_with_its_blocks(server_url: str, blocks: Blocks, visit: Visit) -> None:
    _account(blocks, blocks.registered()["account"])
    page = visit(server_url, "blocks/catalog/account", expected="404")
    page.get_by_role("button", name="Delete…").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(
        ["the block type Account", "1 block", "1 schema"]
    )
    dialog.get_by_role("button", name="Delete the type").click()
    expect(page).to_have_url(re.compile("blocks/catalog$"))
    assert httpx.get(f"{server_url}/block_types/slug/account").status_code == 404
