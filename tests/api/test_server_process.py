import httpx

def test_a_started_server_answers(server_url: str) -> None:
    assert httpx.get(f"{server_url}/health").json() is True
