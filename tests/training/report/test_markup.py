"""Elements as text; what is not markup is escaped."""

from training.report.markup import element, join


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    inner = element("b", "1 < 2 & 3")
    assert inner == "<b>1 &lt; 2 &amp; 3</b>"
    assert element("p", inner, "<i>", title='"') == (
        '<p title="&quot;"><b>1 &lt; 2 &amp; 3</b>&lt;i&gt;</p>'
    )


def test_attribute_names_that_python_cannot_write() -> None:
    assert element("a", class_="x", stroke_width=2, viewBox="0 0") == (
        '<a class="x" stroke-width="2" viewBox="0 0"></a>'
    )


def test_void_elements_are_not_closed() -> None:
    assert element("br") == "<br>"


def test_joined_text_is_escaped_too() -> None:
    assert join([element("br"), "<br>"]) == "<br>&lt;br&gt;"
