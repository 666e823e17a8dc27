from fastapi.testclient import TestClient

from cvivit import VideoTokenizer
from service.app import create_app
from service.settings import Settings


def test_an_app_runs_several_times(tokenizer: VideoTokenizer, video: bytes) -> None:
    app = create_app(Settings(), tokenizers=[tokenizer])
    for _ in range(3):
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
            assert client.post("/encode", content=video).status_code == 200


def test_the_root_leads_to_the_documentation(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
    page = client.get("/")
    assert page.status_code == 200
    assert "/openapi.json" in page.text


def test_info_says_what_is_served(client: TestClient, tokenizer: VideoTokenizer) -> None:
    info = client.get("/info").json()
    assert info["model"] == tokenizer.fingerprint
    assert (info["grid"], info["clip_frames"], info["fps"]) == ([3, 4, 4], 5, 8)
    assert info["codebook_size"] == 64
    assert info["limits"] == Settings().limits()
